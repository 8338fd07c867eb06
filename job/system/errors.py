"""The one exception a user's mistake may raise."""

from job.system.secrets import scrub
from job.system.text import first_line, printable

__all__ = ["ENDS", "EXIT_BAD_INPUT", "EXIT_CRASH", "EXIT_OK", "EXIT_STOPPED", "JobError", "NotFinite", "first_line"]

EXIT_OK = 0
EXIT_CRASH = 1
EXIT_BAD_INPUT = 2
EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: a checkpoint was written, start again to continue
ENDS = {EXIT_OK: "finished", EXIT_STOPPED: "stopped"}  # what a run that ends in anything else is called: failed


class JobError(Exception):
    """A mistake of the user or a fault of their input.

    The message is one line that says what is wrong, where, and what to do now. The command line prints it as
    ``error: MESSAGE`` on stderr, without a traceback, and ends in 2. It reaches status.json, alerts and the launch
    scripts too, so secrets are cut out of it here, and what data or configurations put into it cannot steer a terminal.
    """

    def __init__(self, message: object = "") -> None:
        one_line = " ".join(line.strip() for line in str(message).split("\n"))
        super().__init__(printable(scrub(one_line), keep=""))


class NotFinite(JobError):
    """The loss was NaN or infinite."""
