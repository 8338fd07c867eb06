"""JobError, the one exception for mistakes of the user, and the exit codes."""

from job.system.secrets import scrub
from job.system.text import first_line, printable

__all__ = ["ENDS", "EXIT_BAD_INPUT", "EXIT_CRASH", "EXIT_OK", "EXIT_STOPPED", "JobError", "NotFinite", "first_line"]

EXIT_OK = 0
EXIT_CRASH = 1
EXIT_BAD_INPUT = 2
EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: a checkpoint was written, and the same command resumes
ENDS = {EXIT_OK: "finished", EXIT_STOPPED: "stopped"}  # a run with any other exit code has failed


class JobError(Exception):
    """A mistake of the user or a fault of their input.

    The message is one line: what is wrong, where, and what to do now. The command line prints ``error: MESSAGE`` on
    stderr, without a traceback, and exits with 2. The message also reaches status.json, alerts and the launch scripts,
    so the constructor removes secrets and escapes control characters. `rank` is the number and the node of the rank
    that found it, where all ranks raise what one of them found.
    """

    rank: tuple[int, str] | None = None

    def __init__(self, message: object = "") -> None:
        one_line = " ".join(line.strip() for line in str(message).split("\n"))
        super().__init__(printable(scrub(one_line), keep=""))


class NotFinite(JobError):
    """Raised when the loss or a weight is NaN or infinite."""
