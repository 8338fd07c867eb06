"""`push` and hf://USER/NAME, on a hub that is a folder."""

import inspect
import shutil
from pathlib import Path

import pytest

from job.evaluation.load import load_model
from job.models.build import is_checkpoint_path
from job.run_folder.checkpoint import read_checkpoint
from job.sharing.hub import push
from job.system.errors import JobError
from tests.support.checkpoints import untrained

huggingface_hub = pytest.importorskip("huggingface_hub")

TOKEN = "hf_" + "x" * 34


class Hub:
    """What the hub does, in a folder; it remembers each call."""

    def __init__(self, folder):
        self.folder, self.calls, self.refusal = folder, [], None

    def api(self, token):
        self.calls.append(("token", token))
        return self

    def create_repo(self, repo_id, private, exist_ok):
        if self.refusal:
            raise self.refusal
        self.calls.append(("create", repo_id, "private" if private else "public", exist_ok))

    def upload_folder(self, repo_id, folder_path, allow_patterns, commit_message):
        self.calls.append(("upload", repo_id, sorted(allow_patterns), commit_message))
        (self.folder / repo_id).mkdir(parents=True)
        for name in allow_patterns:
            shutil.copy(folder_path / name, self.folder / repo_id / name)

    def snapshot_download(self, repo_id, revision, allow_patterns):
        if not (self.folder / repo_id).is_dir():
            raise RuntimeError(f"404 for {repo_id} with {TOKEN}")
        self.calls.append(("download", repo_id, revision, sorted(allow_patterns)))
        copy = self.folder / "cache" / repo_id
        copy.mkdir(parents=True, exist_ok=True)
        for name in allow_patterns:
            if (self.folder / repo_id / name).exists():
                shutil.copy(self.folder / repo_id / name, copy / name)
        return str(copy)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", hub.api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


def test_the_stand_in_takes_what_the_library_takes():
    """Each call above is one that the installed version of the library accepts."""
    api = huggingface_hub.HfApi
    upload = {"repo_id": "a/b", "folder_path": "x", "allow_patterns": [], "commit_message": ""}
    inspect.signature(api.__init__).bind(None, token="x")
    inspect.signature(api.create_repo).bind(None, "a/b", private=True, exist_ok=True)
    inspect.signature(api.upload_folder).bind(None, **upload)
    inspect.signature(huggingface_hub.snapshot_download).bind("a/b", revision=None, allow_patterns=[])


@pytest.fixture
def checkpoint(tmp_path):
    path = untrained(tmp_path / "runs" / "mine")
    (path / "sheet.png").write_bytes(b"faces of the data set")
    return path


def test_pushed_and_loaded_again(tmp_path, hub, checkpoint):
    files, address = push(checkpoint, "anna/faces")
    assert address == "hf://anna/faces"
    assert sorted(path.name for path in (tmp_path / "hub/anna/faces").iterdir()) == sorted(name for name, _ in files)
    assert [size for _, size in files] == [(tmp_path / "hub/anna/faces" / name).stat().st_size for name, _ in files]
    assert not list((tmp_path / "hub").rglob("*.png"))
    assert hub.calls[:2] == [("token", TOKEN), ("create", "anna/faces", "private", True)]
    wanted = load_model(checkpoint).model.network.state_dict()
    for reference in ("hf://anna/faces", Path("hf://anna/faces"), "hf://anna/faces@v1.0"):
        assert is_checkpoint_path(str(reference)) or isinstance(reference, Path)
        weights = read_checkpoint(reference).weights()
        assert all((weights[f"network.{name}"] == value).all() for name, value in wanted.items())
    assert hub.calls[-1] == ("download", "anna/faces", "v1.0", ["config.json", "model.safetensors"])


def test_a_dry_run_sends_nothing_and_needs_no_token(job, hub, checkpoint, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    code, out, errors = job("push", "--checkpoint", checkpoint, "--repo", "anna/faces", "--dry-run")
    assert (code, errors) == (0, "")
    lines = out.splitlines()
    assert [line.partition(":")[0] for line in lines[:3]] == ["README.md", "config.json", "model.safetensors"]
    assert lines[3] == "nothing sent; it would be hf://anna/faces"
    assert not hub.calls


def test_failures_are_one_line_without_the_token(hub, checkpoint, monkeypatch):
    with pytest.raises(JobError, match="not of the form USER/NAME"):
        push(checkpoint, "faces")
    hub.refusal = PermissionError(f"403 Forbidden: token {TOKEN} cannot write")
    with pytest.raises(JobError, match="cannot push to anna/faces") as caught:
        push(checkpoint, "anna/faces")
    assert TOKEN not in str(caught.value)
    with pytest.raises(JobError, match="cannot download hf://anna/nothing") as caught:
        read_checkpoint("hf://anna/nothing")
    assert TOKEN not in str(caught.value)
    with pytest.raises(JobError, match="not of the form hf://USER/NAME"):
        read_checkpoint("hf://nothing")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(JobError, match="needs a token of the hub: set HF_TOKEN in the environment"):
        push(checkpoint, "anna/faces")


def test_another_model_on_the_hub_is_refused(tmp_path, hub):
    folder = tmp_path / "hub" / "somebody" / "bert"
    folder.mkdir(parents=True)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "config.json").write_text("{}")
    with pytest.raises(JobError, match=r"hf://somebody/bert holds no config\.json and model\.safetensors"):
        read_checkpoint("hf://somebody/bert")
