"""Sums of label-free scores, such as `ensemble+infomax`: each counts as a share of its highest value."""

from collections.abc import Mapping
from typing import Any

from job.evaluation.agreement import SELECTION
from job.evaluation.ensemble import ENSEMBLE

# What compares runs by default: the least regret between methods and among the settings of one (docs/training.md).
# infomax alone rewards confident mistakes; the ensemble alone follows runs of which most have failed.
COMPARISON = f"{ENSEMBLE}+infomax"
HIGHEST = {  # of the other scores: none
    ENSEMBLE: 1.0,
    "infomax": 2.0,
    "mixval": 1.0,
    "bnm": 1.0,
    "class_ami": 1.0,
    "source_accuracy": 1.0,
}


def value_of(row: Mapping[str, Any], score: str) -> float | None:
    """Return the value of a score in the metrics of an evaluation; None if it, or a part of a sum, is missing.

    In a sum each score counts as a share of its highest value.
    """
    names = score.split("+")
    values = [row.get(SELECTION + name) for name in names]
    if len(names) == 1:
        return values[0]
    parts = [value / HIGHEST[name] for name, value in zip(names, values, strict=True) if value is not None]
    return sum(parts) if len(parts) == len(names) else None
