"""Whether the label-free scores agree on a checkpoint: all that can be known of a choice without target labels."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from job.metric_names import STEP, find

SELECTION = "selection/"
CONFIDENCE = "confidence"


class Agreement(NamedTuple):
    """What one score says of the evaluations of a run."""

    score: str
    step: int  # the evaluation that it would choose: the last of the best
    value: float  # of the score there
    correlation: float | None  # of its ranking of the evaluations with that of the score in force; None: cannot be told


def label_free_scores(rows: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]]) -> dict[str, dict]:
    """Score -> step -> value, of the scores that no target label is in.

    Those that were logged, and the mean confidence on the target as 1 - mean entropy / ln C (Morerio et al. 2018).
    """
    scores: dict[str, dict[int, float]] = {}
    for row in rows:
        for name, value in row.items():
            if name.startswith(SELECTION) and not find(name).labels:
                scores.setdefault(name.removeprefix(SELECTION), {})[row[STEP]] = value
    for evaluation in evaluations:
        classes, entropy = len(evaluation["class_names"]), evaluation["target"].get("mean_entropy")
        if classes > 1 and isinstance(entropy, float):
            scores.setdefault(CONFIDENCE, {})[evaluation["step"]] = 1 - entropy / math.log(classes)
    return scores


def agreement(scores: Mapping[str, Mapping[int, float]], in_force: str) -> list[Agreement]:
    """What each score would choose, and how its ranking of the evaluations agrees with that of the one in force."""
    found = []
    for name, values in scores.items():
        step = max(values, key=lambda step: (values[step], step))
        both = sorted(set(values) & set(scores.get(in_force, {})))
        one, other = ([each[step] for step in both] for each in (values, scores.get(in_force, {})))
        found.append(Agreement(name, step, values[step], None if name == in_force else rank_correlation(one, other)))
    return sorted(found, key=lambda row: row.score != in_force)


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's correlation, ties given their mean rank; None for fewer than three values, or where all are alike."""
    if len(one) < 3:
        return None
    first, second = _ranks(one), _ranks(other)
    spread = first.std() * second.std()
    return None if spread == 0 else float(((first - first.mean()) * (second - second.mean())).mean() / spread)


def _ranks(values: Sequence[float]) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
