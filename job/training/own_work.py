"""Measure each rank's own work in a step, so that the slowest rank can be named.

In data-parallel training all ranks take equally long for a step, because each waits for the slowest one in the first
collective operation. A rank's own work is what it does before: it waits for its batch and runs the first forward pass
of the network.
"""

import statistics
import time
from collections import deque
from collections.abc import Sequence

import torch
from torch import nn

LATEST = 64  # steps that count
TRIMMED = 0.1  # share of them, at each end, that does not: single steps vary much where other programs run


class OwnWork:
    """Measures from `start`, the end of a step, to the end of the network's next forward pass. Close it.

    On a GPU the time is that of its queue of work, measured by events: `read` then waits for the device. Code that
    torch.compile has compiled does not report the end of the forward pass; call `end` after it, a second call is
    ignored.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._began: float | torch.cuda.Event | None = None
        self._times: deque[float] = deque(maxlen=LATEST)  # seconds
        self._events: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque(maxlen=LATEST)
        self._hook = network.register_forward_hook(self._passed)

    def start(self) -> None:
        self._began = self._now()

    def end(self) -> None:
        began, self._began = self._began, None
        if isinstance(began, float):
            self._times.append(time.perf_counter() - began)
        elif began is not None:
            now = self._now()
            assert isinstance(now, torch.cuda.Event)
            self._events.append((began, now))

    def read(self) -> float:
        """Return the mean seconds of the latest steps, without the fastest and the slowest tenth; 0 without a step."""
        for began, ended in self._events:
            ended.synchronize()
            self._times.append(began.elapsed_time(ended) / 1000)
        self._events.clear()
        cut = int(TRIMMED * len(self._times))
        kept = sorted(self._times)[cut : len(self._times) - cut]
        return statistics.fmean(kept) if kept else 0.0

    def close(self) -> None:
        self._hook.remove()

    def _passed(self, *_: object) -> None:
        if not torch.compiler.is_compiling():
            self.end()

    def _now(self) -> "float | torch.cuda.Event":
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def slowest(seconds: Sequence[float]) -> dict[str, float]:
    """Compare the ranks by their own work: the slowest over the median (of two, the faster), by metric name."""
    median = statistics.median_low(seconds)
    if len(seconds) < 2 or median <= 0:
        return {}
    most = max(seconds)
    return {
        "speed/slowest_rank": most / median,
        "speed/slowest_rank_number": seconds.index(most),
        "speed/rank_work_ms": 1000 * median,
    }
