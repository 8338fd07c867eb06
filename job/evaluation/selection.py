"""Scores that choose a checkpoint. Higher is better; only `target_accuracy` uses target labels.

The adversarial loss is not a score: a lower domain loss means worse alignment.
"""

import numpy as np

from job.evaluation.evaluate import DomainReport
from job.evaluation.metrics import accuracy


def mutual_information(report: DomainReport) -> float:
    """Return the information maximisation score, in [0, 1].

    It is (entropy of the mean prediction - mean entropy of the predictions) / ln C: high when predictions are confident
    and all classes are predicted (Krause et al. 2010; Shi & Sha 2012).
    """
    p = report.mean_probability
    marginal = -float(np.sum(p * np.log(np.maximum(p, 1e-12))))
    return (marginal - report.mean_entropy) / float(np.log(len(p)))


def scores(source: DomainReport, target: DomainReport) -> dict[str, float]:
    """Return the label-free scores, and `target_accuracy` if target labels are known."""
    source_accuracy = accuracy(source.confusion)
    values = {"source_accuracy": source_accuracy, "infomax": source_accuracy + mutual_information(target)}
    if target.confusion is not None:
        values["target_accuracy"] = accuracy(target.confusion)
    return values
