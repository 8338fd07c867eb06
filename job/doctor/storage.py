"""Checks of the folders that a run writes to. Without torch, so that they are quick."""

import os
import shutil
from pathlib import Path

from job.config.schema import Config
from job.doctor.findings import FAIL, OK, WARN, Finding, below
from job.system.folder_probe import probe_folder

GIB = 2**30


def disk(config: Config) -> Finding:
    """Check the free space where the run folder is, or will be."""
    folder = existing(config.run_folder)
    usage = shutil.disk_usage(folder)
    if not os.access(folder, os.W_OK):
        return Finding("disk", FAIL, f"{folder} is not writable", "choose another `output`")
    result = f"{usage.free / GIB:.1f} GiB free in {folder}"
    advice = "free space there, lower train.keep_last, or choose another `output`"
    return below("disk", usage.free, 10 * GIB, GIB, result, advice)


def file_system(config: Config) -> Finding:
    """Check the file system where the run folder is, or will be: only renaming has no substitute."""
    folder = existing(config.run_folder)
    probe = probe_folder(folder)
    if probe.error is not None:
        return Finding("file system", FAIL, f"cannot write to {folder}: {probe.error}", "choose another `output`")
    if not probe.rename:
        advice = "a checkpoint could be half written: choose another `output`"
        return Finding("file system", FAIL, f"{folder} cannot rename a file over another", advice)
    missing = {
        "symbolic links: small files replace them": probe.links,
        "fsync of folders: a power cut may cost the last checkpoint": probe.folder_fsync,
        "locks: make sure that only one job uses a run folder": probe.locks,
    }
    lacking = [text for text, works in missing.items() if not works]
    if lacking:
        advice = "choose another `output` if that matters to you"
        return Finding("file system", WARN, f"{folder} has no {'; no '.join(lacking)}", advice)
    return Finding("file system", OK, f"{folder}: links, fsync, renaming and locks work")


def existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def node_folder(check: str, folder: Path) -> Finding:
    """Check that a folder on a disk of this node can be created and written, and has room."""
    advice = "make room there, or name another folder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return Finding(check, FAIL, f"cannot make {folder}: {error.strerror}", advice)
    probe = probe_folder(folder)
    if probe.error is not None:
        return Finding(check, FAIL, f"cannot write to {folder}: {probe.error}", advice)
    return below(check, probe.free_bytes, 10 * GIB, GIB, f"{probe.free_bytes / GIB:.1f} GiB free in {folder}", advice)
