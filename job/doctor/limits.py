"""Limits that the system sets: open files, processes, the size of a file, shared memory."""

import errno
import os
import resource
import secrets
import shutil
from pathlib import Path

from job.doctor.findings import FAIL, OK, WARN, Finding, below
from job.system.open_files import limit_after_start, needed

GIB = 2**30
ROOM = 1 << 20  # bytes that shared memory must have room for


def open_files(ranks: int) -> Finding:
    """Compare the hard limit, to which every process raises its own, with what `ranks` ranks need."""
    limit, need = limit_after_start(), needed(ranks)
    advice = "raise the hard limit on the nodes (LimitNOFILE of slurmd): connections between ranks are open files"
    result = f"limit {limit:,}; {ranks:,} rank(s) need {need:,} in one process"
    return below("open files", limit, max(4096, 2 * need), need, result, advice)


def processes() -> Finding:
    """Check the limit of processes, which counts threads: a rank has some hundred on a large machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft == resource.RLIM_INFINITY:
        return Finding("processes", OK, "no limit")
    most = "unlimited" if hard == resource.RLIM_INFINITY else hard
    return below(
        "processes", soft, 2048, 256, f"limit {soft}", f"`ulimit -u {most}` in slurm/site.env: threads count too"
    )


def file_size() -> Finding:
    """Check the limit of the file size: a checkpoint that is cut off there ends the run."""
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft == resource.RLIM_INFINITY:
        return Finding("file size", OK, "no limit")
    found = f"limit {soft / 2**20:.0f} MiB"
    return below("file size", soft, 4 * GIB, 64 * 2**20, found, "`ulimit -f unlimited`: checkpoints are larger")


def shared_memory(path: str = "/dev/shm") -> Finding:
    """Check that shared memory exists, is writable, has room, and is large enough."""
    uses = "processes of `shards` and NCCL exchange data there"
    try:
        size = shutil.disk_usage(path).total
    except OSError:
        return Finding("shared memory", WARN, f"no {path}", f"{uses}: mount it")
    try:
        _write(Path(path) / f"doctor-{secrets.token_hex(4)}")
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = f"delete what is left in {path}" if full else f"mount {path} for writing (docker run --tmpfs {path})"
        return Finding("shared memory", FAIL, f"cannot write to {path}: {error.strerror}", f"{uses}: {advice}")
    advice = f"{uses}: docker run --shm-size=8g, or --ipc=host"
    return below("shared memory", size, GIB, 32 * 2**20, f"{size / GIB:.1f} GiB", advice)


def _write(file: Path) -> None:
    try:
        with open(file, "xb") as opened:
            os.posix_fallocate(opened.fileno(), 0, ROOM)
    finally:
        file.unlink(missing_ok=True)
