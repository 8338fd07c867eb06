"""Kill the process at any write: the resumed run loses no row, repeats none, and ends with the same weights."""

import builtins
import json
import os
import shutil

import pytest
import torch

from job.run_folder.checkpoint import read_checkpoint

KILLED = 99


def in_a_process(action) -> int:
    """The exit code of a forked process that does it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_at(number: int) -> None:
    """Let this process die just before the `number`-th operation that changes something on the disk."""
    left = number

    def counted(function):
        def wrapper(*arguments, **options):
            nonlocal left
            left -= 1
            if left == 0:
                os._exit(KILLED)
            return function(*arguments, **options)

        return wrapper

    for name in ("replace", "rename", "fsync", "symlink", "unlink", "mkdir", "truncate"):
        setattr(os, name, counted(getattr(os, name)))
    shutil.rmtree = counted(shutil.rmtree)
    plain_open, counted_open = builtins.open, counted(builtins.open)
    builtins.open = lambda file, mode="r", *rest, **options: (plain_open if mode in ("r", "rb") else counted_open)(
        file, mode, *rest, **options
    )


@pytest.mark.slow
def test_a_kill_at_any_write_loses_no_row_and_no_step(pretend, config):
    pretend(config)
    expected = read_checkpoint(config.run_folder / "checkpoints" / "latest").weights()["w"]
    best = read_checkpoint(config.run_folder / "checkpoints" / "best").step
    number = 0
    while True:
        shutil.rmtree(config.run_folder)
        number += 1
        first = in_a_process(lambda at=number: (die_at(at), pretend(config)))
        if first == 0:
            break
        assert first == KILLED
        assert in_a_process(lambda: pretend(config)) == 0, f"does not resume after a kill before write {number}"
        rows = [json.loads(line) for line in (config.run_folder / "metrics.jsonl").read_text().splitlines()]
        assert [row["trainer/step"] for row in rows] == [1, 2, 3, 4, 5, 6], f"kill before write {number}"
        assert [row["train/class_loss"] for row in rows] == [1 / step for step in range(1, 7)]
        checkpoints = config.run_folder / "checkpoints"
        assert torch.equal(read_checkpoint(checkpoints / "latest").weights()["w"], expected)
        assert read_checkpoint(checkpoints / "best").step == best
        assert json.loads((config.run_folder / "status.json").read_text())["status"] == "finished"
        assert not list(checkpoints.glob(".tmp-*"))
    assert number > 50, "too few writes were seen"


@pytest.mark.parametrize("step", [3, 4])
def test_a_row_torn_by_a_kill_is_dropped_and_written_again(pretend, config, step):
    pretend(config, stop_after=step)
    path = config.run_folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-12])
    pretend(config)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["trainer/step"] for row in rows] == [1, 2, 3, 4, 5, 6]


def test_a_damaged_line_is_dropped_with_a_warning_and_the_run_resumes(pretend, config):
    pretend(config, stop_after=4)
    path = config.run_folder / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n")
    damage = [
        b"\x00\xff\x00",
        b"[" * 5000,
        b'{"trainer/step": ' + b"9" * 5000 + b"}",
        b'{"trainer/step": "2"}',
        b"null",
    ]
    for bad in damage:
        path.write_bytes(b"\n".join([lines[0], bad, *lines[2:]]))
        shutil.copytree(config.run_folder, config.run_folder.parent / "kept", symlinks=True)
        pretend(config)
        assert "metrics.jsonl, line 2: damaged and skipped" in (config.run_folder / "log.txt").read_text()
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert [row["trainer/step"] for row in rows] == [1, 3, 4, 5, 6]
        shutil.rmtree(config.run_folder)
        (config.run_folder.parent / "kept").rename(config.run_folder)
