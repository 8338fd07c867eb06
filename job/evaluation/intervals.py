"""95 % intervals of accuracies, from the number of images, and of their means, from the variation over seeds.

All of them treat the images as independent. Several images of one person are not, so the true uncertainty is larger.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Z = 1.959964  # 95 % of a normal distribution lies within so many standard deviations of its mean
_DRAWS = 20_000


class Interval(NamedTuple):
    low: float
    high: float


def wilson(right: float, total: int) -> Interval:
    """Return the interval of the share right / total (Wilson 1927); 0 to 1 when `total` is 0."""
    if total == 0:
        return Interval(0.0, 1.0)
    share = right / total
    middle = share + Z * Z / (2 * total)
    half = Z * math.sqrt(share * (1 - share) / total + Z * Z / (4 * total * total))
    scale = 1 + Z * Z / total
    return Interval(max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0))


def difference(one: float, interval: Interval, other: float, other_interval: Interval) -> Interval:
    """Return the interval of `one - other` from the interval of each (Newcombe 1998, method 10)."""
    return Interval(
        one - other - math.hypot(one - interval.low, other_interval.high - other),
        one - other + math.hypot(interval.high - one, other - other_interval.low),
    )


def share_difference(right: float, total: int, other_right: float, other_total: int) -> Interval:
    """Return the interval of right / total - other_right / other_total."""
    one, other = (wilson(right, total), wilson(other_right, other_total))
    return difference(right / max(total, 1), one, other_right / max(other_total, 1), other)


def seed_noise(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Return the standard deviation over seeds, pooled over groups of runs, and its degrees of freedom.

    Pooling keeps a single pair of seeds that agree to four digits from looking like certainty. Return (0.0, 0) when no
    group has two runs.
    """
    freedom = sum(len(group) - 1 for group in groups if group)
    squares = sum(float(np.var(group)) * len(group) for group in groups if len(group) > 1)
    return (math.sqrt(squares / freedom), freedom) if freedom else (0.0, 0)


def mean_interval(mean: float, images: int | None, seeds: int, noise: tuple[float, int]) -> Interval | None:
    """Return the interval of a mean accuracy over `seeds` runs on the same `images` test images.

    The variation of the test set (Wilson) and of the seeds (Student's t with the degrees of freedom of `noise`) are
    independent, so their squares add up. An unknown part counts as 0; return None when both are unknown.
    """
    std, freedom = noise
    if images is None and not freedom:
        return None
    low, high = (mean, mean) if images is None else wilson(mean * images, images)
    half = 0.0
    if freedom:
        from scipy.special import stdtrit

        half = float(stdtrit(freedom, 0.975)) * std / math.sqrt(seeds)
    return Interval(mean - math.hypot(mean - low, half), mean + math.hypot(high - mean, half))


Measured = tuple[float, Interval]  # a mean and its interval


def ratio_interval(value: Measured, low: Measured, high: Measured) -> Interval:
    """Return the interval of ``(value - low) / (high - low)``, by sampling all three from normal distributions."""
    rng = np.random.default_rng(0)
    draws = [rng.normal(mean, (ends.high - ends.low) / (2 * Z), _DRAWS) for mean, ends in (value, low, high)]
    ratio = (draws[0] - draws[1]) / (draws[2] - draws[1])
    return Interval(*(float(edge) for edge in np.quantile(ratio, (0.025, 0.975))))
