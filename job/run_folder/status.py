"""Write ``status.json``: whether a run is running, or how it ended, for people and scripts."""

import json
import logging
from pathlib import Path

from job.system.errors import ENDS, EXIT_BAD_INPUT, EXIT_CRASH, JobError
from job.system.files import write_atomically

log = logging.getLogger("job")
RUNNING, FAILED = "running", "failed"
_NAME = "status.json"


def write_running(folder: Path) -> None:
    """Record that the run is running."""
    _write(folder, {"status": RUNNING, "exit_code": None})


def write_end(folder: Path, exit_code: int) -> None:
    """Record the exit code of a run that ended without an error."""
    _write(folder, {"status": ENDS.get(exit_code, FAILED), "exit_code": exit_code})


def write_failure(folder: Path, error: BaseException) -> None:
    """Record the error that ended the run, and its kind (JobError, NotFinite); any rank may call it.

    A JobError replaces any earlier status. Another error replaces only "running", because ranks that lose their peers
    fail later, with a less useful error.
    """
    if isinstance(error, JobError):
        failure = {"status": FAILED, "exit_code": EXIT_BAD_INPUT, "message": str(error), "kind": type(error).__name__}
        _write(folder, failure)
    elif not _has_ended(folder):
        _write(folder, {"status": FAILED, "exit_code": EXIT_CRASH})


def _write(folder: Path, content: dict) -> None:
    if not (folder / "checkpoints").is_dir():  # the folder was deleted during the run, which reports it
        return
    try:
        write_atomically(folder / _NAME, json.dumps(content) + "\n")
    except OSError as error:
        log.warning("cannot write %s: %s", _NAME, error)


def _has_ended(folder: Path) -> bool:
    try:
        return json.loads((folder / _NAME).read_text())["status"] != RUNNING
    except (OSError, ValueError, KeyError, TypeError):
        return False
