"""Measure the durations of steps, without the evaluations and checkpoints between them."""

import time
from typing import Protocol

import numpy as np

from job.training.own_work import OwnWork


class Waits(Protocol):
    """An object that counts the seconds spent waiting for data."""

    wait_seconds: float


class StepClock:
    """Measures steps: call `start` before a step and `tick` after it."""

    def __init__(self, batches: Waits, work: OwnWork) -> None:
        """`work` measures this rank's own part of each step."""
        self._batches, self._work = batches, work
        self._durations: list[float] = []
        self._waited = batches.wait_seconds
        self.start()

    def start(self) -> None:
        self._work.start()
        self._from = time.perf_counter()

    def tick(self) -> None:
        """Count the time since the start, or since the last tick, as one step."""
        self._durations.append(time.perf_counter() - self._from)

    def read(self, images_per_step: int) -> dict[str, float]:
        """Return the speed since the last reading, by metric name, and reset."""
        seconds = sum(self._durations)
        waited, self._waited = self._batches.wait_seconds - self._waited, self._batches.wait_seconds
        p50, p95 = np.percentile(self._durations, (50, 95))
        values = {
            "speed/images_per_second": images_per_step * len(self._durations) / seconds,
            "speed/data_wait_fraction": min(waited / seconds, 1.0),
            "speed/step_p50_ms": 1000 * p50,
            "speed/step_p95_ms": 1000 * p95,
        }
        self._durations.clear()
        return values
