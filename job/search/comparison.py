"""The score that compares trials: a label-free score, a sum such as `infomax+class_ami`, or the ensemble of all trials.

The ensemble compares finished trials with each other. A score of a single evaluation still guides the search, that is,
the proposals and the pruning: `guide`.
"""

from collections.abc import Mapping
from typing import Any

from job.config.training import LABEL_FREE_SCORES
from job.evaluation.ensemble import ENSEMBLE
from job.system.errors import JobError

HIGHEST = {"infomax": 2.0, "mixval": 1.0, "bnm": 1.0, "class_ami": 1.0, "source_accuracy": 1.0}  # of the others: none


def check_comparison(score: str) -> None:
    """Raise JobError for a score that is unknown or needs target labels, or that has no place in a sum."""
    names = score.split("+")
    allowed = (*LABEL_FREE_SCORES, ENSEMBLE) if len(names) == 1 else tuple(HIGHEST)
    if unknown := [name for name in names if name not in allowed]:
        kind = "a score that needs no target labels" if len(names) == 1 else "a score for a sum"
        raise JobError(f"--compare-by {score}: {unknown[0]} is not {kind}: use {', '.join(allowed)}")


def value_of(row: Mapping[str, Any], score: str) -> float | None:
    """Return the value of a score in the metrics of an evaluation; None if it, or a part of a sum, is missing.

    In a sum each score counts as a share of its highest value.
    """
    names = score.split("+")
    values = [row.get(f"selection/{name}") for name in names]
    if len(names) == 1:
        return values[0]
    parts = [value / HIGHEST[name] for name, value in zip(names, values, strict=True) if value is not None]
    return sum(parts) if len(parts) == len(names) else None
