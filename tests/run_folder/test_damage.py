"""Damaged, hostile and foreign checkpoints: one clear line, and an earlier intact checkpoint if there is one."""

import json
import os
import shutil

import pytest
from accelerate import Accelerator

from job.run_folder.checkpoint import find_checkpoint, read_checkpoint
from job.run_folder.run_folder import RunFolder
from job.shards.manifest import load_manifest
from job.system.errors import JobError


@pytest.fixture
def checkpoints(pretend, config):
    """Those of steps 2 and 4, of a run that was stopped after the fourth."""
    pretend(config, stop_after=4)
    return config.run_folder / "checkpoints"


def flip(path, at: float = 0.9) -> None:
    """Change one byte, at a share of the file's length."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.safetensors", "trainer.pt"])
@pytest.mark.parametrize(
    ("at", "checksums"), [(0.0, True), (0.5, True), (0.9, True), (0.0, False)], ids=["start", "middle", "end", "0.1"]
)
def test_damage_at_the_right_size_falls_back_to_the_earlier_checkpoint(
    checkpoints, config, pretend, name, at, checksums
):
    """In a checkpoint of version 0.1, without checksums, only damage that prevents parsing is detected."""
    for path in checkpoints.glob("step_*/meta.json") if not checksums else ():
        meta = json.loads(path.read_text())
        del meta["sha256"]
        path.write_text(json.dumps(meta))
    flip(checkpoints / "step_00000004" / name, at)
    pretend(config)
    log = (config.run_folder / "log.txt").read_text()
    assert f"step_00000004 is damaged: {name if not checksums else 'the content of ' + name}" in log
    assert "resuming from step 2 of 6" in log
    assert read_checkpoint(checkpoints / "latest").step == 6


def test_an_empty_file_of_the_size_that_meta_names_is_damage(checkpoints, config, pretend):
    for step in (2, 4):
        folder = checkpoints / f"step_0000000{step}"
        (folder / "trainer.pt").write_bytes(b"")
        meta = json.loads((folder / "meta.json").read_text())
        meta["bytes"]["trainer.pt"] = 0
        meta["sha256"] = {}
        (folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(JobError, match=r"is intact \(checkpoint .*step_00000004 is damaged: trainer.pt cannot be read"):
        pretend(config)


def test_a_damaged_best_checkpoint_is_detected_at_the_start_and_chosen_again(pretend, config):
    pretend(config, stop_after=4)
    checkpoints = config.run_folder / "checkpoints"
    assert read_checkpoint(checkpoints / "best").step == 2
    flip(checkpoints / "step_00000002" / "model.safetensors")
    pretend(config)
    assert "chosen anew" in (config.run_folder / "log.txt").read_text()
    assert read_checkpoint(checkpoints / "best").step == 6


HOSTILE = {
    "a number of 5,000 digits": lambda meta: json.dumps(meta).replace('"step": 4', '"step": ' + "9" * 5000),
    "deep nesting": lambda meta: "[" * 100_000,
    "NUL in a class name": lambda meta: json.dumps(meta | {"class_names": ["a\0b", "c"]}),
    "no class": lambda meta: json.dumps(meta | {"class_names": []}),
    "the same class twice": lambda meta: json.dumps(meta | {"class_names": ["a", "a"]}),
    "no size": lambda meta: json.dumps({key: value for key, value in meta.items() if key != "size"}),
    "a huge size": lambda meta: json.dumps(meta | {"size": 10**9}),
    "a step in words": lambda meta: json.dumps(meta | {"step": "four"}),
    "a negative step": lambda meta: json.dumps(meta | {"step": -4}),
    "quality 0": lambda meta: json.dumps(meta | {"quality": 0}),
    "an unknown crop": lambda meta: json.dumps(meta | {"crop": "../../etc"}),
    "a file elsewhere": lambda meta: json.dumps(meta | {"bytes": meta["bytes"] | {"../../config.yaml": 1}}),
    "no files": lambda meta: json.dumps(meta | {"bytes": {}}),
    "a best score that is none": lambda meta: json.dumps(meta | {"best": {"step": 2, "score": float("nan")}}),
    "a list": lambda meta: "[1, 2]",
    "no JSON": lambda meta: "{",
    "no text": lambda meta: "\udcff",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_meta_json_is_one_line(checkpoints, kind):
    path = checkpoints / "step_00000004" / "meta.json"
    content = HOSTILE[kind](json.loads(path.read_text()))
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(JobError, match=r"step_00000004 is not a complete checkpoint \(.*\): give one that") as caught:
        read_checkpoint(path.parent)
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()
    damaged = []
    assert find_checkpoint(checkpoints, damaged).step == 2
    assert len(damaged) == 1


@pytest.mark.parametrize("name", ["meta.json", "model.safetensors", "trainer.pt"])
@pytest.mark.parametrize("kind", ["FIFO", "folder", "device"])
def test_a_pipe_or_device_is_refused_at_once(checkpoints, name, kind):
    path = checkpoints / "step_00000004" / name
    path.unlink()
    {"FIFO": os.mkfifo, "folder": os.mkdir, "device": lambda p: os.symlink("/dev/zero", p)}[kind](path)
    with pytest.raises(JobError, match=f"is not a complete checkpoint .it is a {kind}, not a file"):
        read_checkpoint(path.parent)
    assert find_checkpoint(checkpoints, verify=True).step == 2


def test_a_folder_deleted_under_its_run_ends_it_and_is_not_half_made_again(config, faces):
    def run_and_delete():
        with RunFolder(config, load_manifest(faces), Accelerator(cpu=True)) as folder:
            shutil.rmtree(config.run_folder)
            folder.save(2, {}, None, {}, {}, wandb_id=None, skipped=0)

    with pytest.raises(JobError, match=r"pretend was deleted while the run was writing to it: run the same command"):
        run_and_delete()
    assert not config.run_folder.exists()
