"""Agree on one step boundary at which all ranks stop, without a collective operation at every step.

Each rank counts the boundaries that it reaches; the counts mean the same on all ranks. A thread asks the store of
torch.distributed at intervals whether any rank wants to stop. Then every rank freezes: it publishes the last boundary
that it has passed, and passes no further one before it knows the decision. The main rank decides for the boundary after
the highest that was published, which no rank can have passed. Publishing needs the threads alone, so ranks that wait
for each other within a step cannot block it.
"""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist

REQUESTS_PER_SECOND = 1000  # to the store, from all ranks together while they wait for a request to stop
SHORTEST_PERIOD = 0.1  # seconds between two questions of a rank; 512 ranks ask every 0.5 s
_FIRST_PAUSE = 0.005  # seconds, while ranks wait for the decision; doubled up to the period


class Agreement:
    """The part of one rank in the agreement. Close it.

    `wanted` returns why this rank wants to stop, or None; the thread calls it before each question. `store` is used by
    that thread alone. All ranks must call `reached` equally often, and take part in a collective operation between the
    last call and `close`: a rank that is closed cannot answer.
    """

    def __init__(
        self, store: dist.Store, rank: int, world: int, wanted: Callable[[], str | None], timeout: timedelta
    ) -> None:
        self._store, self._rank, self._world = store, rank, world
        self._wanted = wanted
        self._timeout = timeout.total_seconds()
        self._period = max(SHORTEST_PERIOD, world / REQUESTS_PER_SECOND)
        self._lock = threading.Lock()
        self._boundary = 0  # the number of boundaries that this rank has reached
        self._frozen = False
        self._stop_at: int | None = None
        self._error: Exception | None = None
        self._decided, self._wake = threading.Event(), threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="stop", daemon=True)
        self._thread.start()

    def reached(self) -> bool:
        """Count a boundary; return whether all ranks stop at it. Waits only while the ranks agree.

        Raises RuntimeError when the store failed or a rank did not answer in time.
        """
        with self._lock:
            self._boundary += 1
            if not self._frozen:
                return False
        if not self._decided.wait(2 * self._timeout):  # the thread gives up before
            raise RuntimeError("timed out waiting for the decision to stop")
        if self._stop_at is None:
            raise RuntimeError(f"the ranks cannot agree to stop: {self._error}") from self._error
        return self._boundary >= self._stop_at

    def hurry(self) -> None:
        """Ask at once, without waiting for the rest of the period, because this rank wants to stop."""
        self._wake.set()

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._wake.set()
        self._thread.join(5)

    def _run(self) -> None:
        try:
            while not self._asked():
                self._wake.wait(self._period)
                if self._closed:
                    return
            self._agree()
        except Exception as error:  # of the store: the main thread raises it at the next boundary
            self._error = error
            with self._lock:
                self._frozen = True
        finally:
            self._decided.set()

    def _asked(self) -> bool:
        reason = self._wanted()
        if reason is not None:
            self._store.set("wanted", reason)
        return reason is not None or bool(self._store.check(["wanted"]))

    def _agree(self) -> None:
        with self._lock:
            self._frozen, passed = True, self._boundary
        self._store.set(_passed(self._rank), str(passed))
        if self._rank == 0:
            everyone = [_passed(rank) for rank in range(self._world)]
            if self._wait_for(everyone):
                last = max(int(count) for count in self._store.multi_get(everyone))
                self._store.set("boundary", str(last + 1))
        if self._wait_for(["boundary"]):
            self._stop_at = int(self._store.get("boundary"))

    def _wait_for(self, keys: list[str]) -> bool:
        """Wait until all keys are in the store; return False when this rank was closed meanwhile.

        Short questions, not a wait of the store: a thread inside one could not end with its process.
        """
        pause, deadline = _FIRST_PAUSE, time.monotonic() + self._timeout
        while not self._store.check(keys):
            if self._closed:
                return False
            if time.monotonic() > deadline:
                missing = ", ".join(key for key in keys if not self._store.check([key]))
                raise RuntimeError(f"timed out waiting for {missing}")
            time.sleep(pause)
            pause = min(2 * pause, self._period)
        return True


def _passed(rank: int) -> str:
    return f"the last boundary of rank {rank}"
