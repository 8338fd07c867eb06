"""Runs whose shards change: between a stop and the next start, and during training."""

import json
import os
import shutil
import signal
import time

import pytest

from job.system.errors import EXIT_BAD_INPUT, EXIT_STOPPED, JobError
from job.train import train
from tests.support.manifests import shift_labels
from tests.support.running import start


@pytest.fixture
def changing(small, faces, tmp_path):
    """`changing(...)`: a configuration on shards of its own, and the source's training shards."""
    folder = shutil.copytree(faces, tmp_path / "changing")

    def make(**changes):
        config = small(**{"name": "changing", **changes, "data": {"shards": str(folder), **changes.get("data", {})}})
        return config, sorted((folder / "source" / "train").glob("*.tar"))

    return make


def status(config):
    return json.loads((config.run_folder / "status.json").read_text())


def test_source_labels_shifted_in_place_between_stop_and_resume(changing):
    """No size changes, and the manifest does not: the run would learn that joy is sadness and end in 0."""
    config, shards = changing(train={"steps": 8})
    config.run_folder.mkdir(parents=True)
    (config.run_folder / "stop").touch()
    assert train(config) == EXIT_STOPPED
    whole = [path.read_bytes() for path in shards]
    for path in shards:
        shift_labels(path, 7)
    with pytest.raises(JobError, match=r"shard .*source-train-\d+\.tar: its sha256 is not the manifest's"):
        train(config)
    assert (status(config)["status"], status(config)["exit_code"]) == ("failed", EXIT_BAD_INPUT)
    for path, content in zip(shards, whole):
        path.write_bytes(content)
    without, _ = changing(train={"steps": 8}, data={"verify": "never"})
    assert train(without) == 0, "the key decides no weight: a run resumes under another value"


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_shards_cut_short_under_a_running_job_end_it_with_a_message(changing, tmp_path, ranks):
    """With a memory map, SIGBUS would kill the run and status.json would say "running" forever."""
    config, shards = changing(train={"steps": 100_000, "eval_every": 100_000, "checkpoint_every": 50_000})
    config = config.model_copy(update={"data": config.data.model_copy(update={"decoded_gib": 0.0})})
    process = start(config, tmp_path, ranks)
    try:
        metrics, deadline = config.run_folder / "metrics.jsonl", time.monotonic() + 300
        while not (metrics.exists() and len(metrics.read_text().splitlines()) > 30):  # two passes: all are open
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for path in shards:
            os.truncate(path, 512)
        output, _ = process.communicate(timeout=300)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert "was cut short while it was being read: copy it again" in output
    assert "SIGBUS" not in output
    if ranks == 1:
        assert process.returncode == EXIT_BAD_INPUT, output
        assert "Traceback" not in output
    assert (status(config)["status"], status(config)["exit_code"]) == ("failed", EXIT_BAD_INPUT)
    assert "was cut short" in status(config)["message"]
