"""Agreement of the label-free scores on a checkpoint: without target labels, the only check of the choice."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from job.metric_names import STEP, find

SELECTION = "selection/"
CONFIDENCE = "confidence"


class Agreement(NamedTuple):
    """The checkpoint that one score would choose, and how similarly it ranks the evaluations of a run."""

    score: str
    step: int  # of the evaluation that it would choose: the latest with the best value
    value: float  # of the score at that step
    correlation: float | None  # rank correlation with the configured score; None: undefined, or that score itself


def label_free_scores(rows: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]]) -> dict[str, dict]:
    """Return score -> step -> value for the scores that use no target labels.

    These are the logged scores. Where `entropy` is not among them, as in runs of version 0.1, the mean confidence on
    the target stands in for it: 1 - mean entropy / ln C (Morerio et al. 2018).
    """
    scores: dict[str, dict[int, float]] = {}
    for row in rows:
        for name, value in row.items():
            if name.startswith(SELECTION) and not find(name).labels:
                scores.setdefault(name.removeprefix(SELECTION), {})[row[STEP]] = value
    for evaluation in evaluations if "entropy" not in scores else ():
        classes, entropy = len(evaluation["class_names"]), evaluation["target"].get("mean_entropy")
        if classes > 1 and isinstance(entropy, float):
            scores.setdefault(CONFIDENCE, {})[evaluation["step"]] = 1 - entropy / math.log(classes)
    return scores


def agreement(scores: Mapping[str, Mapping[int, float]], configured: str) -> list[Agreement]:
    """Return the choice of each score and its rank correlation with the configured score, which comes first."""
    choices = []
    for name, values in scores.items():
        step = max(values, key=lambda step: (values[step], step))
        both = sorted(set(values) & set(scores.get(configured, {})))
        one, other = ([each[step] for step in both] for each in (values, scores.get(configured, {})))
        choices.append(
            Agreement(name, step, values[step], None if name == configured else rank_correlation(one, other))
        )
    return sorted(choices, key=lambda row: row.score != configured)


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Spearman's correlation, with mean ranks for ties; None for fewer than three values or no variance."""
    if len(one) < 3:
        return None
    first, second = _ranks(one), _ranks(other)
    spread = first.std() * second.std()
    return None if spread == 0 else float(((first - first.mean()) * (second - second.mean())).mean() / spread)


def _ranks(values: Sequence[float]) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
