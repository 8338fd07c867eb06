"""Proxy A-distance (Ben-David et al. 2007; Ganin et al. 2016, sec. 3.1): how separable the domains are."""

import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def proxy_a_distance(source: np.ndarray, target: np.ndarray) -> float:
    """Return ``2 (1 - 2 error)`` of a linear domain probe: 0 is indistinguishable, 2 is perfectly separable.

    `source` and `target` are features [n, width] and [m, width]. The probe is trained on the even rows and tested on
    the odd rows; both domains have the same weight. A probe that is worse than chance gives 0. Return NaN when a
    feature is not finite.
    """
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        return float("nan")

    def stack(first: int) -> tuple[np.ndarray, np.ndarray]:
        parts = source[first::2], target[first::2]
        return np.concatenate(parts), np.repeat([0, 1], [len(part) for part in parts])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an unconverged probe is still a probe
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=100, C=0.1, class_weight="balanced"))
        probe.fit(*stack(0))
    inputs, domains = stack(1)
    wrong = probe.predict(inputs) != domains
    error = (wrong[domains == 0].mean() + wrong[domains == 1].mean()) / 2
    return float(max(0.0, 2 * (1 - 2 * error)))
