"""File systems without symbolic links or folder fsync, and copies of runs that lost their links."""

import errno
import os
import pathlib
import shutil

import pytest

from job.run_folder.checkpoint import read_checkpoint
from job.run_folder.pointers import point
from job.system import files
from job.system.errors import JobError


@pytest.fixture(params=[errno.EPERM, errno.EOPNOTSUPP, errno.EROFS, errno.ENOSYS])
def no_links(request, monkeypatch):
    def refuse(self, target, target_is_directory=False):
        raise OSError(request.param, os.strerror(request.param), str(self))

    monkeypatch.setattr(pathlib.Path, "symlink_to", refuse)


@pytest.fixture(params=[errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM])
def no_folder_fsync(request, monkeypatch):
    fsync = os.fsync

    def refuse(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(request.param, os.strerror(request.param))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)


def test_without_links_a_small_file_points_to_a_checkpoint(pretend, config, no_links):
    pretend(config, stop_after=4)
    checkpoints = config.run_folder / "checkpoints"
    assert (checkpoints / "latest").read_text() == "step_00000004\n"
    assert (checkpoints / "best").read_text() == "step_00000002\n"
    assert read_checkpoint(checkpoints / "latest").step == 4
    assert read_checkpoint(checkpoints / "best").step == 2
    pretend(config)
    assert read_checkpoint(checkpoints / "best").step == 2 or read_checkpoint(checkpoints / "latest").step == 6
    # pruned to three, sparing the best
    assert {path.name for path in checkpoints.glob("step_*")} == {f"step_0000000{step}" for step in (2, 4, 6)}


def test_pruning_keeps_checkpoints_that_the_small_files_name(pretend, small, no_links):
    config = small(name="pruned", train={"steps": 6, "keep_last": 1})
    pretend(config, stop_after=4)
    checkpoints = config.run_folder / "checkpoints"
    assert {path.name for path in checkpoints.glob("step_*")} == {"step_00000002", "step_00000004"}


def test_a_folder_that_cannot_be_synced_raises_no_error(pretend, config, no_folder_fsync):
    pretend(config)
    assert read_checkpoint(config.run_folder / "checkpoints" / "latest").step == 6


def test_another_error_of_fsync_is_still_one(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        files.fsync_folder(tmp_path)


def test_a_copy_without_links_resumes_and_has_links_again(pretend, config):
    pretend(config, stop_after=4)
    shutil.copytree(config.run_folder, config.run_folder.parent / "copy", symlinks=False)  # cp -rL
    shutil.rmtree(config.run_folder)
    (config.run_folder.parent / "copy").rename(config.run_folder)
    checkpoints = config.run_folder / "checkpoints"
    assert read_checkpoint(checkpoints / "best").step == 2
    pretend(config)
    assert "resuming from step 4" in (config.run_folder / "log.txt").read_text()
    assert all((checkpoints / name).is_symlink() for name in ("latest", "best"))
    assert read_checkpoint(checkpoints / "latest").step == 6


def test_a_copy_that_holds_nothing_but_the_last_checkpoint_resumes(pretend, config):
    pretend(config, stop_after=4)
    checkpoints = config.run_folder / "checkpoints"
    (checkpoints / "latest").unlink()
    (checkpoints / "step_00000004").rename(checkpoints / "latest")
    shutil.rmtree(checkpoints / "step_00000002")
    (checkpoints / "best").unlink()
    pretend(config)
    assert "resuming from step 4" in (config.run_folder / "log.txt").read_text()


def test_a_link_takes_the_place_of_a_file_and_the_other_way_round(tmp_path, monkeypatch):
    for name in ("step_00000001", "step_00000002"):
        (tmp_path / name).mkdir()
    (tmp_path / "latest").write_text("step_00000001\n")
    point(tmp_path, "latest", tmp_path / "step_00000002")
    assert (tmp_path / "latest").is_symlink()
    monkeypatch.setattr(pathlib.Path, "symlink_to", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no")))
    point(tmp_path, "latest", tmp_path / "step_00000001")
    assert (tmp_path / "latest").read_text() == "step_00000001\n"


@pytest.mark.parametrize("content", ["", "../../etc", "step_1", "step_00000001/..", "\0", "x" * 10_000])
def test_a_pointer_without_a_checkpoint_is_reported_in_one_line(tmp_path, content):
    (tmp_path / "best").write_text(content)
    with pytest.raises(JobError, match="is not a checkpoint: give a folder such as"):
        read_checkpoint(tmp_path / "best")
