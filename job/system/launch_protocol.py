"""What a rank and the launch scripts tell each other, through the environment and a small file."""

import contextlib
import os
from pathlib import Path

from job.system.errors import EXIT_OK, EXIT_STOPPED
from job.system.files import write_atomically

EXPECTED_RANKS = "JOB_EXPECTED_RANKS"  # how many ranks were asked for
STATUS_FILE = "JOB_STATUS_FILE"  # where the exit code goes; shared by the ranks of all nodes
LOCK_WAIT = "JOB_LOCK_WAIT"  # seconds to wait for a run folder that an earlier start may still hold


def tell_launcher(exit_code: int, message: str = "") -> None:
    """Write the exit code and, on a second line, an error message where the launch script looks for them.

    `accelerate launch` passes neither on, and srun gives the code of the node that it killed last.
    """
    if STATUS_FILE in os.environ:
        with contextlib.suppress(OSError):  # a full disk: the launch script takes silence for a crash
            write_atomically(Path(os.environ[STATUS_FILE]), f"{exit_code}\n{message}\n")


def process_exit_code(exit_code: int) -> int:
    """What the process ends in: a stop is no failure to a launcher that was told of it, so no traceback follows."""
    return EXIT_OK if exit_code == EXIT_STOPPED and STATUS_FILE in os.environ else exit_code
