"""Only the caller can permit shell commands in shard URLs, never a checkpoint or a run folder."""

import json
import shutil

import pytest
import yaml

from job.__main__ import main
from job.config.load import load_config
from job.evaluation.load import load_model
from job.system.errors import JobError
from tests.support.running import REPO

OLD = REPO / "tests" / "support" / "run_of_version_0_1"


@pytest.fixture
def strange_run(tmp_path, monkeypatch):
    """A run folder from outside: its configuration and checkpoint permit a command that leaves a mark."""
    shutil.copytree(OLD, tmp_path / "work", symlinks=True)
    monkeypatch.chdir(tmp_path / "work")
    folder = tmp_path / "work" / "old"
    shards = f"pipe:touch {tmp_path / 'mark'}; cat "
    for path in folder.glob("checkpoints/step_*/meta.json"):
        meta = json.loads(path.read_text())
        meta["config"]["data"] |= {"allow_pipe": True, "shards": shards}
        path.write_text(json.dumps(meta))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["data"] |= {"allow_pipe": True, "shards": shards}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_a_checkpoint_runs_no_command(strange_run, tmp_path):
    checkpoint = strange_run / "checkpoints" / "best"
    assert load_model(checkpoint).config.data.allow_pipe is False
    with pytest.raises(JobError, match="would run a shell command"):
        main(["evaluate", "--checkpoint", str(checkpoint)], standalone_mode=False)
    assert not (tmp_path / "mark").exists()


def test_the_caller_of_evaluate_can_permit_it(strange_run, tmp_path):
    checkpoint = strange_run / "checkpoints" / "best"
    with pytest.raises(JobError, match="cannot read pipe:"):  # the command ran, and gave no manifest
        main(["evaluate", "--checkpoint", str(checkpoint), "--allow-pipe"], standalone_mode=False)
    assert (tmp_path / "mark").exists()


def test_the_configuration_of_a_run_folder_runs_no_command(strange_run, tmp_path):
    stored = load_config(strange_run / "config.yaml")
    assert stored.data.allow_pipe is False
    with pytest.raises(JobError, match="would run a shell command"):
        main(["train", "--check", "--config", str(strange_run / "config.yaml")], standalone_mode=False)
    assert not (tmp_path / "mark").exists()
    assert load_config(strange_run / "config.yaml", ["data.allow_pipe=true"]).data.allow_pipe is True


def test_an_ordinary_configuration_permits_it(tmp_path):
    (tmp_path / "mine.yaml").write_text("data: {shards: 'pipe:cat shards', allow_pipe: true}\n")
    assert load_config(tmp_path / "mine.yaml").data.allow_pipe is True


def test_inspect_requires_the_option(tmp_path):
    with pytest.raises(JobError, match="--allow-pipe"):
        main(["inspect", f"pipe:touch {tmp_path / 'mark'}; cat"], standalone_mode=False)
    assert not (tmp_path / "mark").exists()
