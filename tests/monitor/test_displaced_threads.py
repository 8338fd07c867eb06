"""Uneven steps on busy cores are an alert; slow steps, idle cores and sleeping threads are not."""

import pytest

from job.monitor.displaced_threads import DisplacedThreads
from job.system.processes import cores


def row(median, most):
    return {"speed/step_p50_ms": median, "speed/step_p95_ms": most}


ROWS = [row(158, 1668), row(158, 1668), {"val/source_accuracy": 0.5}, row(2172, 6158), row(158, 1668)]


@pytest.fixture
def alerts_of(monkeypatch):
    def alerts_of(rows, threads=2, busy=True, policy=None):
        for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
            monkeypatch.delenv(name, raising=False)
        if policy:
            monkeypatch.setenv("OMP_WAIT_POLICY", policy)
        watch = DisplacedThreads(threads, lambda: (4.0 if busy else 1.0) * cores())
        return [alert for row in rows for alert in watch.look(row)]

    return alerts_of


def test_the_alert_is_raised_once_with_advice(alerts_of):
    (alert,) = alerts_of(ROWS)
    assert alert.title == "threads wait for one another"
    assert "2 threads spin" in alert.text
    assert "OMP_WAIT_POLICY=PASSIVE" in alert.text
    assert alerts_of(ROWS, policy="active")


@pytest.mark.parametrize(
    "case",
    [
        {"threads": 1},
        {"threads": 0},
        {"policy": "PASSIVE"},
        {"busy": False},
        {"rows": [row(100, 1000), row(100, 120), row(100, 1000), row(100, 120)]},
        {"rows": [row(1000, 1100)] * 5},
    ],
)
def test_other_runs_raise_no_alert(alerts_of, case):
    assert alerts_of(**({"rows": ROWS} | case)) == []
