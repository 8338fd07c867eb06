"""Curves of metrics over the steps: mean and standard deviation over seeds."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Curve:
    """One metric of one objective. `low` and `high` are one standard deviation below and above the mean."""

    steps: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]


def mean_curve(runs: Sequence[Sequence[Mapping[str, Any]]], metric: str) -> Curve:
    """Average a metric over the rows of metrics.jsonl of several runs, at the steps that all runs logged."""
    series = [{row["trainer/step"]: row[metric] for row in rows if metric in row} for rows in runs]
    steps = sorted(set.intersection(*map(set, series))) if series else []
    values = [[run[step] for run in series] for step in steps]
    mean = [statistics.mean(at) for at in values]
    std = [statistics.stdev(at) if len(at) > 1 else 0.0 for at in values]
    return Curve(
        steps, mean, [m - s for m, s in zip(mean, std, strict=True)], [m + s for m, s in zip(mean, std, strict=True)]
    )
