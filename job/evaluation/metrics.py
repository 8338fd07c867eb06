"""Figures from a confusion matrix [true class, predicted class] of counts."""

import numpy as np


def accuracy(confusion: np.ndarray) -> float:
    return float(np.trace(confusion) / confusion.sum())


def recall(confusion: np.ndarray) -> np.ndarray:
    """Share of each true class that was found; NaN where the class does not occur."""
    with np.errstate(invalid="ignore"):
        return np.diag(confusion) / confusion.sum(axis=1)


def macro_f1(confusion: np.ndarray) -> float:
    """Mean F1 over the classes that occur or are predicted."""
    seen = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float(np.mean(2 * np.diag(confusion)[seen > 0] / seen[seen > 0]))
