"""Metrics of a confusion matrix [true class, predicted class] of counts with at least one sample.

A class that does not occur has no recall. It counts as 0 in macro-F1 if it is predicted, because all its predictions
are wrong, and is left out otherwise. scikit-learn's `f1_score(average="macro")` does the same.
"""

import numpy as np

UNMEASURED = "no target labels: not measured"


def accuracy(confusion: np.ndarray) -> float:
    """Return the share of correct predictions."""
    return float(np.trace(confusion) / confusion.sum())


def recall(confusion: np.ndarray) -> np.ndarray:
    """Return the share of each true class that is predicted correctly; NaN for a class that does not occur."""
    with np.errstate(invalid="ignore"):
        return np.diag(confusion) / confusion.sum(axis=1)


def macro_f1(confusion: np.ndarray) -> float:
    """Return the mean F1 over the classes that occur or are predicted."""
    seen = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float(np.mean(2 * np.diag(confusion)[seen > 0] / seen[seen > 0]))
