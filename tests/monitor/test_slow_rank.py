"""The alert that names a slow rank."""

import pytest

from job.monitor.slow_rank import SlowRank


def row(ratio: float, rank: int, step: float = 100.0) -> dict[str, float]:
    return {
        "speed/slowest_rank": ratio,
        "speed/slowest_rank_number": rank,
        "speed/rank_work_ms": 40.0,
        "speed/step_p50_ms": step,
    }


def raised(*rows: dict[str, float], every: int = 50) -> list[str]:
    slow = SlowRank(["node1", "node1", "node2", "node2"])
    return [alert.text for number, one in enumerate(rows) for alert in slow.look(every * number, one)]


def test_a_slow_rank_raises_an_alert_after_three_log_steps():
    (text,) = raised(*[row(1.5, 2)] * 6)
    assert text.startswith(
        "rank 2 on node2 needs 1.50 times as long as the median rank for its part of a step, and all others wait 20 ms "
        "for it, for 100 steps: "
    )
    assert "--exclude=node2" in text
    assert len(raised(row(1.5, 2), row(1.5, 3), row(1.5, 2))) == 1  # another rank of the same node


@pytest.mark.parametrize(
    "rows",
    [
        [row(1.5, 2)] * 2,
        [row(1.5, 2), row(1.5, 0), row(1.5, 2)] * 3,  # now one, now another
        [row(1.5, 2), row(1.5, 2), row(1.2, 2)] * 3,
        [row(1.5, 2, step=2000.0)] * 6,  # its part is a small share of the step
        [{"speed/step_p50_ms": 100.0}] * 6,  # one rank
    ],
)
def test_what_is_not_a_slow_rank_raises_none(rows):
    assert raised(*rows) == []


def test_three_steps_are_not_enough():
    assert raised(*[row(1.5, 2)] * 50, every=1) == []
    assert len(raised(*[row(1.5, 2)] * 70, every=1)) == 1
