"""Metrics over the steps, as mean and standard deviation over the seeds of each objective."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Curve:
    """One metric of one objective. `low` and `high` are a standard deviation away from the mean."""

    steps: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]


def mean_curve(runs: Sequence[Sequence[Mapping[str, Any]]], metric: str) -> Curve:
    """The curve of a metric over several runs' rows of metrics.jsonl, at the steps that all of them have logged."""
    found = [{row["trainer/step"]: row[metric] for row in rows if metric in row} for rows in runs]
    steps = sorted(set.intersection(*map(set, found))) if found else []
    values = [[run[step] for run in found] for step in steps]
    mean = [statistics.mean(at) for at in values]
    std = [statistics.stdev(at) if len(at) > 1 else 0.0 for at in values]
    return Curve(
        steps, mean, [m - s for m, s in zip(mean, std, strict=True)], [m + s for m, s in zip(mean, std, strict=True)]
    )
