"""Common parts of processes that train many runs in one folder: locks, signals, files that request a stop, settings."""

import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from job.system.files import InUse, lock, was_locked_here

QUIET = 120  # seconds without an update after which the owner of a lock on another node counts as dead
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
STOP_FILE = "JOB_STOP_FILE"  # a file that stops this process alone; FOLDER/stop stops all processes of a folder

ANOTHER_NAME = "choose another name (--name NAME or name=NAME)"  # advice


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


@contextmanager
def collect_signals(received: list[int]) -> Iterator[None]:
    """Append the numbers of arriving SIGNALS to `received` inside the block; restore the handlers after it."""

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def with_run_defaults(content: dict[str, Any], group: str, job_type: str, fixed: Collection[str]) -> dict[str, Any]:
    """Change `content` to a run of one W&B group, with few files, and return it. `fixed` keys keep their values."""
    defaults = (
        ("wandb", "group", group),
        ("wandb", "job_type", job_type),
        ("wandb", "artifacts", False),
        ("evaluation", "figures", False),
        ("train", "keep_last", 1),
    )
    for section, key, value in defaults:
        if f"{section}.{key}" not in fixed:
            content[section][key] = value
    return content


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
