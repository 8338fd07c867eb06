"""`python -m job search` whose trials are fake runs: `python -m tests.support.fake_search ARGUMENTS`."""

import sys

from job.__main__ import run
from job.many_runs.launcher import Launcher
from job.search import command
from tests.support import fake_run


def fake_trials() -> None:
    """Replace the command of the runs, and the check that needs torch."""
    Launcher._command = lambda self: [sys.executable, fake_run.__file__]
    command._check = lambda *_: None
    command.count_gpus = lambda: 0


if __name__ == "__main__":
    sys.argv[1:1] = ["search"]
    fake_trials()
    sys.exit(run())
