"""Crash reports: tracebacks of the program and of its threads, without secrets."""

import sys
import threading
import traceback
from types import TracebackType

from job.system.secrets import scrub
from job.system.text import printable


def scrub_tracebacks() -> None:
    """Make Python print tracebacks without secrets and control sequences: errors quote addresses and commands."""
    sys.excepthook = _print
    threading.excepthook = _print_of_thread


def _print(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    print(printable(scrub(text)), end="", file=sys.stderr, flush=True)


def _print_of_thread(details: threading.ExceptHookArgs) -> None:
    if details.exc_value is not None and details.exc_type is not SystemExit:
        print(f"in thread {details.thread.name if details.thread else '?'}:", file=sys.stderr)
        _print(details.exc_type, details.exc_value, details.exc_traceback)
