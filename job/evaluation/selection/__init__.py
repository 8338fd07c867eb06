"""Scores that choose a checkpoint. Higher is better; none of the registered ones reads target labels.

The adversarial loss is not a score: a lower domain loss means worse alignment.
"""

import math
from collections.abc import Callable

from job.evaluation.metrics import accuracy
from job.evaluation.selection.dev import dev
from job.evaluation.selection.evidence import Evidence
from job.evaluation.selection.mixval import mixval
from job.evaluation.selection.on_neighbours import class_ami, snd, transfer_score
from job.evaluation.selection.on_predictions import bnm, entropy, infomax, mutual_information, source_accuracy

__all__ = ["SCORES", "Evidence", "mutual_information", "scores"]

# A score is None if it cannot be computed. The names are those of `selection.score` (job/config/training.py).
SCORES: dict[str, Callable[[Evidence], float | None]] = {
    "infomax": infomax,
    "entropy": entropy,
    "mixval": mixval,
    "bnm": bnm,
    "class_ami": class_ami,
    "source_accuracy": source_accuracy,
    "dev": dev,
    "snd": snd,
    "transfer_score": transfer_score,
}
_ALWAYS = ("infomax", "entropy", "source_accuracy")  # NaN in them means a broken network and stops the run


def scores(evidence: Evidence) -> dict[str, float]:
    """Return the label-free scores that can be computed, and `target_accuracy` if target labels are known."""
    values = {}
    for name, score in SCORES.items():
        value = score(evidence)
        if value is not None and (math.isfinite(value) or name in _ALWAYS):
            values[name] = value
    if evidence.target.confusion is not None:
        values["target_accuracy"] = accuracy(evidence.target.confusion)
    return values
