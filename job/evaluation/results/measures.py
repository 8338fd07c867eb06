"""Measures of predictions with labels, all of them functions of sums over the images.

So a bootstrap needs no predictions, only the sums of each subject (see bootstrap.py): any measure of resampled subjects
is the same function of resampled sums.
"""

from dataclasses import dataclass

import numpy as np

BINS = 15  # of the confidence, as in Guo et al. 2017


@dataclass(frozen=True)
class Sums:
    """Sums over images, or over many groups of images at once: every array may have leading dimensions.

    By class: right predictions, images, predictions, float64 [..., C]. By bin of confidence: images, summed confidence,
    right predictions, float64 [..., BINS].
    """

    right: np.ndarray
    images: np.ndarray
    predicted: np.ndarray
    bin_images: np.ndarray
    bin_confidence: np.ndarray
    bin_right: np.ndarray

    @classmethod
    def of(cls, log_probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray, count: int) -> "Sums":
        """Return the sums of each of `count` groups; `groups` int64 [n] has the group of each image, all labelled."""
        classes = log_probabilities.shape[1]
        predicted = log_probabilities.argmax(1)
        confidence = np.exp(log_probabilities.max(1).astype(np.float64))
        right = (predicted == labels).astype(np.float64)
        bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)

        def add(columns: int, at: np.ndarray, values: np.ndarray | float) -> np.ndarray:
            table = np.zeros((count, columns))
            np.add.at(table, (groups, at), values)
            return table

        return cls(
            right=add(classes, labels, right),
            images=add(classes, labels, 1.0),
            predicted=add(classes, predicted, 1.0),
            bin_images=add(BINS, bins, 1.0),
            bin_confidence=add(BINS, bins, confidence),
            bin_right=add(BINS, bins, right),
        )

    def weighted(self, weights: np.ndarray) -> "Sums":
        """Return the sums [k, ...] over groups, each counted by its weights [k, groups]."""
        return Sums(**{name: weights @ values for name, values in vars(self).items()})

    def total(self) -> "Sums":
        """Return the sums over all groups."""
        return Sums(**{name: values.sum(0) for name, values in vars(self).items()})


def accuracy(sums: Sums) -> np.ndarray:
    """Return the share of right predictions [...]; NaN without images."""
    return _share(sums.right.sum(-1), sums.images.sum(-1))


def recall(sums: Sums) -> np.ndarray:
    """Return the share of each class [..., C] that is predicted as such; NaN for a class without images."""
    return _share(sums.right, sums.images)


def precision(sums: Sums) -> np.ndarray:
    """Return the share of the predictions of each class [..., C] that are right; NaN where it is never predicted."""
    return _share(sums.right, sums.predicted)


def f1(sums: Sums) -> np.ndarray:
    """Return the harmonic mean of precision and recall [..., C]; NaN for a class neither shown nor predicted."""
    return _share(2 * sums.right, sums.images + sums.predicted)


def macro_f1(sums: Sums) -> np.ndarray:
    """Return the mean F1 [...] over the classes that occur or are predicted, as `job.evaluation.metrics` does."""
    values = f1(sums)
    known = np.isfinite(values)
    return _share(np.where(known, values, 0.0).sum(-1), known.sum(-1).astype(np.float64))


def expected_calibration_error(sums: Sums) -> np.ndarray:
    """Return the mean gap between confidence and accuracy [...], over bins of equal width (Guo et al. 2017, eq. 5)."""
    return _share(np.abs(sums.bin_confidence - sums.bin_right).sum(-1), sums.bin_images.sum(-1))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)
