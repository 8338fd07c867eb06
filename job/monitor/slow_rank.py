"""Detect a rank for which all others wait."""

from collections.abc import Sequence
from typing import Any

from job.monitor.alerts import Alert

SLOW = 1.3  # own work of the slowest rank over that of the median rank
COST = 0.05  # of a step: the least that the others must lose by waiting
IN_A_ROW, STEPS = 3, 60  # log steps, and the steps between the first and the last of them


class SlowRank:
    """Looks at the slowest rank of each log step. Raises its alert once for each node."""

    def __init__(self, hosts: Sequence[str]) -> None:
        """`hosts` are the names of the nodes by rank."""
        self._hosts = hosts
        self._steps: list[int] = []  # log steps in a row at which a rank of the node was slow
        self._host = ""
        self._raised: set[str] = set()

    def look(self, step: int, row: dict[str, Any]) -> list[Alert]:
        """Return the alert, if a rank of the same node was slow at the last three log steps."""
        ratio, rank = row.get("speed/slowest_rank"), row.get("speed/slowest_rank_number")
        if ratio is None or rank is None or rank >= len(self._hosts):
            return []
        waits = (ratio - 1) * row["speed/rank_work_ms"]
        host = self._hosts[rank]
        slow = ratio >= SLOW and waits >= COST * row["speed/step_p50_ms"]
        if not slow or host != self._host:
            self._steps, self._host = [], host
        if slow:
            self._steps.append(step)
        long = len(self._steps) >= IN_A_ROW and self._steps[-1] - self._steps[0] >= STEPS
        if not long or host in self._raised:
            return []
        self._raised.add(host)
        exclude = f", or exclude it (sbatch --exclude={host})" if len(set(self._hosts)) > 1 else ""
        return [
            Alert(
                "a rank is slow",
                f"rank {rank} on {host} needs {ratio:.2f} times as long as the median rank for its part of a step, and "
                f"all others wait {waits:.0f} ms for it, for {self._steps[-1] - self._steps[0]} steps: check what else "
                f"runs on {host}, its disk and its GPU clocks{exclude}",
            )
        ]
