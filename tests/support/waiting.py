"""Wait for what another process or thread does, and not for a time in which it should have done it."""

import subprocess
import time
from collections.abc import Callable


def eventually(
    happened: Callable[[], object], what: str | Callable[[], object] = "", seconds: float = 120, pause: float = 0.02
):
    """Wait for something, and return it; `what` says what did not happen, or returns it."""
    deadline = time.monotonic() + seconds
    while not (value := happened()):
        assert time.monotonic() < deadline, f"did not happen within {seconds} s: {what() if callable(what) else what}"
        time.sleep(pause)
    return value


def while_running(process: subprocess.Popen, happened: Callable[[], object], seconds: float) -> None:
    """Wait for something that a process does; fail with its messages when it ends before."""

    def happened_before_the_end() -> object:
        value = happened()
        assert value or process.poll() is None, process.stderr.read() if process.stderr else process.returncode
        return value

    eventually(happened_before_the_end, seconds=seconds)
