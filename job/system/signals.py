"""Hold back the signals that ask a process to end, while it finishes what must not be left half done."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held(*numbers: signal.Signals) -> Iterator[threading.Event]:
    """Hold back signals while the block runs; the event that is yielded is set when one has come.

    The caller ends soon anyway, so they are not delivered afterwards. Outside the main thread, which alone can handle
    signals, nothing is held.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    previous = {number: signal.signal(number, lambda *_: came.set()) for number in numbers}
    try:
        yield came
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
