"""Figures from a confusion matrix [true class, predicted class] of counts, of which at least one is not 0.

A class that does not occur has no recall. It counts in macro-F1, with 0, only where it is predicted all the same: then
every one of these predictions is wrong. This is what scikit-learn's `f1_score(average="macro")` does too.
"""

import numpy as np

UNMEASURED = "no target labels: not measured"


def accuracy(confusion: np.ndarray) -> float:
    return float(np.trace(confusion) / confusion.sum())


def recall(confusion: np.ndarray) -> np.ndarray:
    """Share of each true class that was found; NaN where the class does not occur."""
    with np.errstate(invalid="ignore"):
        return np.diag(confusion) / confusion.sum(axis=1)


def macro_f1(confusion: np.ndarray) -> float:
    """Mean F1 over the classes that occur or are predicted; the others are left out of the mean."""
    seen = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float(np.mean(2 * np.diag(confusion)[seen > 0] / seen[seen > 0]))
