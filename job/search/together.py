"""Common parts of processes that work on one folder: locks of units of work, signals, files that request a stop."""

import signal
import time
from pathlib import Path
from typing import TextIO

from job.system.files import InUse, lock, was_locked_here

QUIET = 120  # seconds without an update after which the owner of a lock on another node counts as dead
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
STOP_FILE = "JOB_STOP_FILE"  # a file that stops this process alone; FOLDER/stop stops all processes of a folder


def try_lock(path: Path) -> TextIO | None:
    """Lock a file, whose folder exists; None while the lock is taken, or may be taken on another node."""
    try:
        # some file systems show a lock on its own node only: there, the time of the file must be old as well
        age = time.time() - path.stat().st_mtime if path.exists() and path.stat().st_size else QUIET
        if age < QUIET and not was_locked_here(path):
            return None
        return lock(path)
    except InUse:
        return None


def release(held: TextIO) -> None:
    """Release a lock, so that any process may lock the file at once."""
    held.truncate(0)
    held.close()


class StopFiles:
    """Files that request a stop of this process if they appear or change after its start."""

    def __init__(self, paths: list[Path]) -> None:
        self._before = {path: _changed(path) for path in paths}

    def requested(self) -> bool:
        return any(_changed(path) not in (None, before) for path, before in self._before.items())


def _changed(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
