"""Bulky things that may fail or take their time, done by a thread, so that the training waits for none of them."""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable

from job.system.secrets import brief

log = logging.getLogger("job")


class Background:
    """Does one thing after the other. What has failed once is not tried again; what comes too fast is left out."""

    def __init__(self, waiting: int = 8) -> None:
        self._queue: queue.Queue[tuple[str, Callable[[], None]] | None] = queue.Queue(maxsize=waiting)
        self._thread: threading.Thread | None = None

    def do(self, what: str, action: Callable[[], None]) -> None:
        """Have `action` done; `what` names its kind in messages."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="extras", daemon=True)
            self._thread.start()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait((what, action))

    def close(self, seconds: float) -> None:
        """Wait for what is left to do, at most so long."""
        if self._thread is not None:
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=seconds)
            self._thread.join(seconds)

    def _work(self) -> None:
        failed: set[str] = set()
        while (given := self._queue.get()) is not None:
            what, action = given
            if what in failed:
                continue
            try:
                action()
            except Exception as error:
                failed.add(what)
                log.warning("W&B failed to take the %s (%s); they are in the run folder", what, brief(error))
