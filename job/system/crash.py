"""Crash reports: tracebacks of the program and of its threads, without secrets."""

import os
import sys
import threading
import traceback
from types import TracebackType

from job.system.secrets import scrub
from job.system.text import printable


def scrub_tracebacks() -> None:
    """Make Python print tracebacks without secrets and control sequences: errors quote URLs and commands."""
    sys.excepthook = _print
    threading.excepthook = _print_of_thread


def _print(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    text = "".join(traceback.format_exception(kind, error, _below_the_command_line(trace)))
    print(printable(scrub(text)), end="", file=sys.stderr, flush=True)


def _print_of_thread(details: threading.ExceptHookArgs) -> None:
    if details.exc_value is not None and details.exc_type is not SystemExit:
        print(f"in thread {details.thread.name if details.thread else '?'}:", file=sys.stderr)
        _print(details.exc_type, details.exc_value, details.exc_traceback)


def _below_the_command_line(trace: TracebackType | None) -> TracebackType | None:
    """Drop the frames above the command: some twenty lines of click that are in every traceback."""
    below, frame = trace, trace
    while frame is not None:
        if f"{os.sep}click{os.sep}" in frame.tb_frame.f_code.co_filename:
            below = frame.tb_next
        frame = frame.tb_next
    return below or trace
