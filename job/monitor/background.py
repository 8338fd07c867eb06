"""Run slow or unreliable actions in a thread, so that training does not wait for them."""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable

from job.system.secrets import brief

log = logging.getLogger("job")


class Background:
    """Run actions in order, in one thread.

    A kind of action that failed is not retried. When the queue is full, new actions are dropped.
    """

    def __init__(self, queue_size: int = 8) -> None:
        self._queue: queue.Queue[tuple[str, Callable[[], None]] | None] = queue.Queue(maxsize=queue_size)
        self._thread: threading.Thread | None = None

    def do(self, what: str, action: Callable[[], None]) -> None:
        """Queue `action`. `what` is its kind: its name in messages; after a failure, this kind is dropped."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="extras", daemon=True)
            self._thread.start()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait((what, action))

    def close(self, seconds: float) -> None:
        """Wait at most `seconds` for the actions in the queue."""
        if self._thread is not None:
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=seconds)
            self._thread.join(seconds)

    def _work(self) -> None:
        failed: set[str] = set()
        while (item := self._queue.get()) is not None:
            what, action = item
            if what in failed:
                continue
            try:
                action()
            except Exception as error:
                failed.add(what)
                log.warning("cannot send the %s to W&B (%s); they are in the run folder", what, brief(error))
