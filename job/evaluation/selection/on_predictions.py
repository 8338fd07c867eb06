"""Scores of the predictions alone: accuracy on the source, confidence and diversity on the target."""

import numpy as np

from job.evaluation.evaluate import DomainReport
from job.evaluation.metrics import accuracy
from job.evaluation.selection.evidence import Evidence


def source_accuracy(evidence: Evidence) -> float | None:
    """Return the accuracy on the source, in [0, 1]; None without labels."""
    return None if evidence.source.confusion is None else accuracy(evidence.source.confusion)


def mutual_information(report: DomainReport) -> float:
    """Return the information maximisation score, in [0, 1].

    It is (entropy of the mean prediction - mean entropy of the predictions) / ln C: high when predictions are confident
    and all classes are predicted (Krause et al. 2010; Shi & Sha 2012).
    """
    p = report.mean_probability
    marginal = -float(np.sum(p * np.log(np.maximum(p, 1e-12))))
    return (marginal - report.mean_entropy) / float(np.log(len(p)))


def infomax(evidence: Evidence) -> float:
    """Return source accuracy + mutual information of the target predictions, in [0, 2].

    Without source images it is the mutual information alone, in [0, 1].
    """
    return (source_accuracy(evidence) or 0.0) + mutual_information(evidence.target)


def entropy(evidence: Evidence) -> float:
    """Return minus the mean entropy of the target predictions, in nats, at most 0 (Morerio et al. 2018)."""
    return -evidence.target.mean_entropy


def bnm(evidence: Evidence) -> float | None:
    """Return the nuclear norm of the target predictions P [n, C] over its bound sqrt(n min(n, C)), in (0, 1].

    It is large when predictions are confident and of many classes (batch nuclear-norm maximisation: Cui et al. 2020).
    """
    p = evidence.target_probabilities
    return None if p is None else float(np.linalg.norm(p, "nuc") / np.sqrt(len(p) * min(p.shape)))
