"""Scores that choose a checkpoint. Higher is better; none but `target_accuracy` looks at a target label.

The adversarial loss is none of them: a lower domain loss is worse alignment.
"""

import numpy as np

from job.evaluation.evaluate import DomainReport
from job.evaluation.metrics import accuracy


def mutual_information(report: DomainReport) -> float:
    """Information maximisation, in [0, 1]: (entropy of the mean prediction - mean entropy of the predictions) / ln C.

    High when single predictions are confident and all classes are predicted (Krause et al. 2010; Shi & Sha 2012).
    """
    p = report.mean_probability
    marginal = -float(np.sum(p * np.log(np.maximum(p, 1e-12))))
    return (marginal - report.mean_entropy) / float(np.log(len(p)))


def scores(source: DomainReport, target: DomainReport) -> dict[str, float]:
    """The label-free scores, and `target_accuracy` where the target's labels are known."""
    source_accuracy = accuracy(source.confusion)
    values = {"source_accuracy": source_accuracy, "infomax": source_accuracy + mutual_information(target)}
    if target.confusion is not None:
        values["target_accuracy"] = accuracy(target.confusion)
    return values
