"""The probe tests what a folder's file system can do."""

import errno
import os
import pathlib

import pytest

from job.config.load import build_config
from job.doctor.findings import FAIL, OK, WARN
from job.doctor.storage import file_system
from job.system import folder_probe
from job.system.folder_probe import probe_folder


def refuse(number):
    def action(*_, **__):
        raise OSError(number, os.strerror(number))

    return action


def test_an_ordinary_folder_has_every_ability_and_stays_clean(tmp_path):
    probe = probe_folder(tmp_path)
    assert (probe.error, probe.links, probe.folder_fsync, probe.rename, probe.locks) == (None, True, True, True, True)
    assert probe.free_bytes > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lacking", ["links", "folder_fsync", "locks"])
def test_doctor_warns_of_a_missing_ability(tmp_path, monkeypatch, lacking):
    fsync = os.fsync

    def on_files_only(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    {
        "links": lambda: monkeypatch.setattr(pathlib.Path, "symlink_to", refuse(errno.EPERM)),
        "folder_fsync": lambda: monkeypatch.setattr(os, "fsync", on_files_only),
        "locks": lambda: monkeypatch.setattr(folder_probe, "lock", refuse(errno.ENOLCK)),
    }[lacking]()
    probe = probe_folder(tmp_path)
    assert {name for name in ("links", "folder_fsync", "rename", "locks") if not getattr(probe, name)} == {lacking}
    finding = file_system(build_config({"name": "x", "output": str(tmp_path)}, "test"))
    assert finding.level == WARN
    assert {"links": "symbolic links", "folder_fsync": "fsync of folders", "locks": "locks"}[lacking] in finding.result


def test_doctor_fails_if_the_folder_cannot_write_or_rename(tmp_path, monkeypatch):
    config = build_config({"name": "x", "output": str(tmp_path)}, "test")
    assert file_system(config).level == OK
    monkeypatch.setattr(folder_probe, "write_atomically", refuse(errno.EXDEV))
    assert "cannot rename" in file_system(config).result
    monkeypatch.setattr(folder_probe.tempfile, "mkdtemp", refuse(errno.EROFS))
    finding = file_system(config)
    assert (finding.level, "Read-only file system" in finding.result) == (FAIL, True)
