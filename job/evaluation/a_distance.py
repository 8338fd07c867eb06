"""Proxy A-distance (Ben-David et al. 2007; Ganin et al. 2016, sec. 3.1): how separable the domains are."""

import numpy as np

from job.evaluation.domain_probe import fit_probe
from job.evaluation.samples import FEWEST, Sample


def domain_metrics(source: Sample | None, target: Sample | None) -> dict[str, float]:
    """Return the errors of a new linear probe and of the method's domain classifier on the same held-out features.

    The held-out features are the odd rows of the samples, on which the probe is not trained. Without a domain
    classifier only the probe's error is returned; with too few samples, nothing.
    """
    if source is None or target is None or min(len(source.features), len(target.features)) < FEWEST:
        return {}
    error = probe_error(source.features, target.features)
    metrics = {"domain/a_distance": a_distance(error), "domain/probe_error": error}
    on_source, on_target = source.target_probability[1::2], target.target_probability[1::2]
    if len(on_source) and len(on_target):
        wrong = _mean_of_means(on_source > 0.5, on_target <= 0.5)
        known = np.isfinite(on_source).all() and np.isfinite(on_target).all()
        metrics["domain/classifier_error"] = wrong if known else float("nan")
    return metrics


def probe_error(source: np.ndarray, target: np.ndarray) -> float:
    """Return the error of a linear domain probe: 0.5 when the domains are indistinguishable, 0 when separable.

    `source` and `target` are features [n, width] and [m, width]. The probe is trained on the even rows and tested on
    the odd rows; both domains have the same weight. Return NaN when a feature is not finite.
    """
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        return float("nan")
    probe = fit_probe(source[::2], target[::2], class_weight="balanced")
    return _mean_of_means(probe.predict(source[1::2]) != 0, probe.predict(target[1::2]) != 1)


def a_distance(error: float) -> float:
    """Return ``2 (1 - 2 error)``: 0 is indistinguishable, 2 is perfectly separable. Worse than chance gives 0."""
    return float(np.maximum(0.0, 2 * (1 - 2 * error)))


def _mean_of_means(one: np.ndarray, other: np.ndarray) -> float:
    return float((one.mean() + other.mean()) / 2)
