"""Cost of logging per step: logged turns of a loop against turns of the same run without logging."""

import statistics
import time
from collections.abc import Sequence

from job.monitor.recorder import Recorder

MOST = 0.02  # of the time of a step


class EverySecondTurn:
    """Replaces a recorder: only turns 0, 1, 3, 5, ... reach metrics.jsonl, W&B and the terminal."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._turn = 0
        self.seconds: list[float] = []  # of each forwarded call
        self.wandb_id = recorder.wandb_id

    def evaluated(self, *_: object) -> None:
        """Skip the figures."""

    def log(self, step: int, metrics: dict[str, float]) -> None:
        if self._turn == 0 or self._turn % 2:
            began = time.perf_counter()
            self._recorder.log(step, metrics)
            self.seconds.append(time.perf_counter() - began)
        self._turn += 1


def logging_cost(turns: Sequence[tuple[float, float]], seconds: Sequence[float], log_every: int) -> dict[str, float]:
    """Return the share of logging in a step's time, from `turns` of (our seconds, seconds of the reference loop).

    `on_against_off` compares whole turns, each relative to the turn of the reference loop after it, and includes the
    noise of the machine; `share` is the time inside the calls alone, `share_by_default` with a call every 50 steps.
    """
    logged, silent = turns[1::2], turns[2::2]
    on, off = (statistics.median(ours / other for ours, other in part) for part in (logged, silent))
    call = statistics.median(seconds[1:])
    step = statistics.median(ours for ours, _ in silent) / log_every
    return {
        "call_ms": 1000 * call,
        "on_against_off": on / off - 1,
        "share": call / (log_every * step),
        "share_by_default": call / (50 * step),
        "most": MOST,
    }
