"""Deep embedded validation (You et al. 2019): the loss on the source, weighted to count as if on the target."""

import numpy as np

from job.evaluation.domain_probe import fit_probe
from job.evaluation.samples import FEWEST
from job.evaluation.selection.evidence import Evidence


def dev(evidence: Evidence) -> float | None:
    """Return minus the risk on the target that deep embedded validation estimates, in nats.

    Each labelled source sample has the weight w = p(target | features) / p(source | features), scaled by the sizes of
    the domains, and w is a control variate (You et al. 2019). None for fewer than FEWEST samples.
    """
    sample, target = evidence.source.sample, evidence.target_features
    if sample is None or target is None or not np.isfinite(sample.features).all():
        return None
    rows = np.flatnonzero(sample.labels >= 0)
    if len(rows) < FEWEST:
        return None
    losses = -sample.log_probabilities[rows, sample.labels[rows]].astype(np.float64)
    weights = density_ratio(sample.features[rows].astype(np.float64), target)
    return -risk(weights, losses) if np.isfinite(losses).all() else None


def density_ratio(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the density ratio target / source at the source rows [n, width]: float64 [n].

    A logistic domain classifier estimates it. It is trained on one half of each domain and applied to the other half
    of the source, and the other way round, so that no row is weighted by a classifier that it trained. A probability
    is at least 1 / n: one row must not decide the risk.
    """
    weights = np.empty(len(source))
    for half in (0, 1):
        one, other = source[half::2], target[half::2]
        share = (
            fit_probe(one, other).predict_proba(source[1 - half :: 2])[:, 1].clip(1 / len(source), 1 - 1 / len(source))
        )
        weights[1 - half :: 2] = len(one) / len(other) * share / (1 - share)
    return weights


def risk(weights: np.ndarray, losses: np.ndarray) -> float:
    """Return the mean of w l + eta w - eta, with eta = -cov(w l, w) / var(w); the mean of w is known to be 1.

    This keeps the mean and lowers the variance (You et al. 2019). If w has no variance, eta is 0.
    """
    weighted = weights * losses
    covariance = np.cov(weighted, weights)
    eta = -covariance[0, 1] / covariance[1, 1] if covariance[1, 1] > 0 else 0.0
    return float(weighted.mean() + eta * weights.mean() - eta)
