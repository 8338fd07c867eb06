"""The protocol between ranks and launch scripts: environment variables and a small file."""

import contextlib
import os
from pathlib import Path

from job.system.errors import EXIT_OK, EXIT_STOPPED
from job.system.files import write_atomically

EXPECTED_RANKS = "JOB_EXPECTED_RANKS"  # number of ranks that the launch script starts
STATUS_FILE = "JOB_STATUS_FILE"  # path for the exit code, shared by the ranks of all nodes
LOCK_WAIT = "JOB_LOCK_WAIT"  # seconds to wait for a run folder that an earlier start may still lock


def tell_launcher(exit_code: int, message: str = "") -> None:
    """Write the exit code and, on a second line, an error message to the file that the launch script reads.

    `accelerate launch` passes on neither, and srun returns the code of the node that it killed last.
    """
    if STATUS_FILE in os.environ:
        with contextlib.suppress(OSError):  # a full disk: without the file the launch script assumes a crash
            write_atomically(Path(os.environ[STATUS_FILE]), f"{exit_code}\n{message}\n")


def process_exit_code(exit_code: int) -> int:
    """Return the process's own exit code: 0 for a stop if the launcher reads the file, to avoid its traceback."""
    return EXIT_OK if exit_code == EXIT_STOPPED and STATUS_FILE in os.environ else exit_code
