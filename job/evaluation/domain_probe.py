"""A logistic regression that tells the domains apart by their features."""

import warnings
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def fit_probe(source: np.ndarray, target: np.ndarray, class_weight: Literal["balanced"] | None = None) -> "Pipeline":
    """Train a classifier on features [n, width] and [m, width]: 0 is the source, 1 the target.

    `class_weight` as in scikit-learn: balanced gives both domains the same weight.
    """
    # here: only the main rank evaluates probes, and scikit-learn takes a second
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=100, C=0.1, class_weight=class_weight))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an unconverged probe is still a probe
        return probe.fit(np.concatenate([source, target]), np.repeat([0, 1], [len(source), len(target)]))
