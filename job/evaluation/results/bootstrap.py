"""95 % intervals by a bootstrap clustered by subject.

Several images of one person resemble each other, so subjects are drawn with replacement, each with all of their
images (Field & Welsh 2007, "Bootstrapping clustered data", the cluster bootstrap). An image of an unknown subject
is a separate cluster. Intervals are the percentiles of 2,000 draws, the same at every call. With fewer than about
ten subjects they are too narrow. Where no draw differs, `describe` uses another interval.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from job.evaluation.intervals import Interval
from job.evaluation.results.measures import BINS, Sums
from job.evaluation.rows import Rows

DRAWS = 2000
_AT_ONCE = 100  # draws, which bounds the memory
_SEED = 0


class Clusters(NamedTuple):
    """The sums of each cluster. Equal clusters are stored once, with the number of them."""

    sums: Sums  # of one cluster of each kind, [kinds, ...]
    times: np.ndarray  # int64 [kinds], how many clusters of each kind there are
    subjects: int  # clusters that are subjects
    single: int  # clusters that are images of unknown subjects

    @property
    def total(self) -> Sums:
        """The sums over all images."""
        return self.sums.weighted(self.times[None].astype(np.float64)).total()

    def draws(self, draws: int = DRAWS) -> Sums:
        """Return the sums of `draws` sets of clusters drawn with replacement, [draws, ...]."""
        rng = np.random.default_rng(_SEED)
        clusters = int(self.times.sum())
        parts = []
        for first in range(0, draws, _AT_ONCE):
            size = min(_AT_ONCE, draws - first)
            weights = rng.multinomial(clusters, self.times / clusters, size=size).astype(np.float64)
            parts.append(self.sums.weighted(weights))
        return Sums(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def clusters_of(runs: Sequence[tuple[Rows, Sequence[str | None]]]) -> Clusters:
    """Return the clusters of the labelled images of several evaluations, each with the subjects of its rows.

    The same image in several evaluations, by several seeds for instance, belongs to one cluster.
    """
    names: dict[str, int] = {}
    logs, labels, groups = [], [], []
    for rows, subjects in runs:
        known = rows.labels >= 0
        clusters = [
            names.setdefault(f"image {key}" if subject is None else f"subject {subject}", len(names))
            for key, subject, labelled in zip(rows.keys, subjects, known, strict=True)
            if labelled
        ]
        logs.append(rows.log_probabilities[known])
        labels.append(rows.labels[known])
        groups.append(np.array(clusters, np.int64))
    single = sum(name.startswith("image ") for name in names)
    sums, count = _merged(np.concatenate(logs), np.concatenate(labels), np.concatenate(groups), single == len(names))
    return Clusters(sums, count, len(names) - single, single)


def _merged(
    logs: np.ndarray, labels: np.ndarray, groups: np.ndarray, every_image_alone: bool
) -> tuple[Sums, np.ndarray]:
    """Return the sums of the clusters and how often each occurs.

    If every image is a cluster, there may be a million clusters but only few kinds: images of one class, one prediction
    and one bin of confidence, which then have the mean confidence of their bin.
    """
    if not every_image_alone or len(np.unique(groups)) < len(groups):
        _, numbers = np.unique(groups, return_inverse=True)
        kinds = int(numbers.max()) + 1
        return Sums.of(logs, labels, numbers, kinds), np.ones(kinds, np.int64)
    bins = np.minimum((np.exp(logs.max(1).astype(np.float64)) * BINS).astype(np.int64), BINS - 1)
    _, numbers, count = np.unique(
        np.stack([labels, logs.argmax(1), bins]), axis=1, return_inverse=True, return_counts=True
    )
    sums = Sums.of(logs, labels, numbers.reshape(-1), len(count))
    return Sums(**{name: values / count[:, None] for name, values in vars(sums).items()}), count


def interval(measure: Callable[[Sums], np.ndarray], draws: Sums) -> np.ndarray:
    """Return the ends [2, ...] of the 95 % interval of a measure; NaN where it has no value in any draw."""
    return ends(measure(draws))


def ends(values: np.ndarray) -> np.ndarray:
    """Return the 2.5 % and the 97.5 % quantile [2, ...] of drawn values [draws, ...], without those that are NaN."""
    empty = ~np.isfinite(values).any(0)
    quantiles = np.nanquantile(np.where(empty, 0.0, values), (0.025, 0.975), axis=0)
    return np.where(empty, np.nan, quantiles)


def one_interval(measure: Callable[[Sums], np.ndarray], draws: Sums) -> Interval:
    """Return the 95 % interval of a measure that is one number."""
    low, high = interval(measure, draws)
    return Interval(float(low), float(high))
