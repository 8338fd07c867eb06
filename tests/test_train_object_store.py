"""A run with shards and mirror in an object store ends with the weights of one on a local disk, whatever happens."""

import json
import os
import re
import shutil
import signal
from concurrent.futures import Future

import pytest

from job.run_folder.mirror import Mirror
from job.system import transfer
from job.system.object_store import ObjectStore
from job.train import train
from tests.support.running import assert_same_weights, rows, start, weights
from tests.support.s3_server import SECRET, failing, put_folder


@pytest.fixture
def stored(faces, s3):
    put_folder(faces, f"{s3.bucket}/faces")
    return f"{s3.bucket}/faces"


@pytest.mark.slow
def test_killed_during_an_upload_and_resumed_without_its_folder(small, stored, s3, tmp_path):
    local = small(name="local", train={"steps": 12})
    assert train(local) == 0
    data = {"shards": stored, "cache_dir": str(tmp_path / "cache")}
    config = small(name="remote", data=data, mirror=f"{s3.bucket}/runs", train={"steps": 12})
    begun = Future()

    def kill(environ):
        if environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].endswith("step_00000010/trainer.pt"):
            os.killpg(begun.result(timeout=120).pid, signal.SIGKILL)
        return None

    s3.fault = kill
    begun.set_result(start(config, tmp_path))
    assert begun.result().wait(timeout=300) == -signal.SIGKILL
    s3.fault = lambda environ: None
    names = ObjectStore(config.mirrored).names()
    assert "checkpoints/step_00000010/model.safetensors" in names  # half a checkpoint
    assert "checkpoints/step_00000010/meta.json" not in names
    complete = sorted(re.findall(r"step_(\d+)/meta\.json", "\n".join(names)))  # a slow upload leaves older ones out
    # (with an even slower one training is over before the first is complete: then only its test is repeated)
    begins = rf"(resuming from|evaluating again:) step {int(complete[-1])} of 12" if complete else "starting "
    shutil.rmtree(config.run_folder)
    shutil.rmtree(tmp_path / "cache")
    assert train(config) == 0
    assert_same_weights(weights(config), weights(local))
    assert re.search(begins, (config.run_folder / "log.txt").read_text())
    timed = ("speed/", "memory/", "system/")
    one, other = (
        [{name: value for name, value in row.items() if not name.startswith(timed)} for row in rows(each)]
        for each in (config, local)
    )
    assert one == other


def test_a_store_that_fails_raises_an_alert_and_no_error(small, s3, monkeypatch, capfd):
    monkeypatch.setattr(transfer, "RETRY_SECONDS", 0.0)
    update = Mirror.update
    monkeypatch.setattr(Mirror, "update", lambda mirror: update(mirror) or mirror.wait(240))
    s3.fault = failing("PUT", "", "error")
    config = small(name="alerts", mirror=f"{s3.bucket}/alerts", train={"steps": 4, "eval_every": 4})
    assert train(config) == 0
    alerts = [json.loads(line) for line in (config.run_folder / "alerts.jsonl").read_text().splitlines()]
    (alert,) = [alert for alert in alerts if alert["title"] == "copy of the run cannot be written"]
    assert f"the run cannot be copied to {s3.bucket}/alerts/alerts (" in alert["text"]
    everything = capfd.readouterr().err + "".join(
        path.read_text() for path in config.run_folder.iterdir() if path.is_file()
    )
    assert SECRET not in everything
    assert os.environ["AWS_ACCESS_KEY_ID"] not in everything
