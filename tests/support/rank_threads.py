"""Threads that stand for the ranks of a run, two on each host."""

import socket
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from job.system.errors import JobError

WORLD = 4
HOSTS = ["host0", "host0", "host1", "host1"]  # of the ranks


class RankThreads:
    """Four ranks on the hosts host0 and host1; `modules` gather or broadcast objects between them."""

    errors: dict[int, JobError]  # that the last `run` raised, by rank

    def __init__(self, monkeypatch, *modules) -> None:
        self._barrier, self._values, self._local = threading.Barrier(WORLD), [None] * WORLD, threading.local()
        monkeypatch.setattr(socket, "gethostname", lambda: f"host{self.rank // 2}")
        for module in modules:
            monkeypatch.setattr(module, "gather_object", self._gather)
            monkeypatch.setattr(module, "broadcast_object_list", self._broadcast, raising=False)

    @property
    def rank(self) -> int:
        """The rank of the calling thread."""
        return self._local.rank

    def run(self, action: Callable[[Any], Any]) -> list[Any]:
        """What `action(accelerator)` returns on each rank, or the message of its JobError."""
        results, self.errors = {}, {}

        def of(rank: int) -> None:
            self._local.rank = rank
            wait = self._barrier.wait
            accelerator = SimpleNamespace(
                num_processes=WORLD, process_index=rank, is_main_process=rank == 0, wait_for_everyone=wait
            )
            try:
                results[rank] = action(accelerator)
            except JobError as error:
                results[rank], self.errors[rank] = str(error), error

        threads = [threading.Thread(target=of, args=(rank,)) for rank in range(WORLD)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(240)
        return [results[rank] for rank in range(WORLD)]

    def _broadcast(self, values: list) -> None:
        values[:] = self._gather([list(values)])[0]

    def _gather(self, value: list) -> list:
        self._values[self.rank] = value[0]
        self._barrier.wait(120)
        found = list(self._values)
        self._barrier.wait(120)
        return found
