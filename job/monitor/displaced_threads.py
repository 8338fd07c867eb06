"""Detect threads that spin while they wait for displaced threads, which makes a run ten times as slow."""

import os
from collections.abc import Callable
from typing import Any

from job.monitor.alerts import Alert
from job.system.processes import cores
from job.system.threads import threads_spin

UNEVEN = 2.0  # 95th percentile over median of a step; 3 to 10 was measured with both of two cores busy
BUSY = 1.5  # processes that need a core, over cores


class DisplacedThreads:
    """Looks at the durations of steps on a CPU. Raises its alert once."""

    def __init__(self, threads: int, load: Callable[[], float] = lambda: os.getloadavg()[0]) -> None:
        """`threads` are those of OpenMP in this process; `load`: processes that need a core, averaged over a minute."""
        self._threads = threads
        self._load = load
        self._rows = 0
        self._uneven = 0
        self._done = not threads_spin(threads)

    def look(self, row: dict[str, Any]) -> list[Alert]:
        """Return the alert, if this is the second row in succession with uneven steps while the cores were busy."""
        if self._done or "speed/step_p95_ms" not in row:
            return []
        self._rows += 1
        median, most = row["speed/step_p50_ms"], row["speed/step_p95_ms"]
        uneven = self._rows > 1 and most > UNEVEN * median and self._load() > BUSY * cores()  # the first one starts up
        self._uneven = self._uneven + 1 if uneven else 0
        if self._uneven < 2:
            return []
        self._done = True
        return [
            Alert(
                "threads wait for one another",
                f"one step in twenty takes {most:.0f} ms or more, half of them {median:.0f} ms, and other programs use "
                f"the cores: {self._threads} threads spin while one of them is displaced; start again with "
                "OMP_WAIT_POLICY=PASSIVE, or with OMP_NUM_THREADS=1",
            )
        ]
