"""Intervals against published values, and the seed noise of means."""

import numpy as np
import pytest

from job.evaluation.intervals import Interval, mean_interval, ratio_interval, seed_noise, share_difference, wilson

PUBLISHED = [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (9, 10, 0.5958, 0.9821)]


@pytest.mark.parametrize(("right", "total", "low", "high"), PUBLISHED)
def test_wilson_agrees_with_published_values(right, total, low, high):
    assert wilson(right, total) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_wilson_without_images_is_0_to_1():
    assert wilson(0, 0) == (0.0, 1.0)


def test_share_difference_agrees_with_newcombe():
    """Newcombe 1998, table II, method 10: 56/70 - 48/80 and 9/10 - 3/10."""
    assert share_difference(56, 70, 48, 80) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))
    assert share_difference(9, 10, 3, 10) == (pytest.approx(0.1705, abs=1e-4), pytest.approx(0.8090, abs=1e-4))


def test_seed_noise_is_pooled():
    assert seed_noise([[0.5], [0.7]]) == (0.0, 0)
    std, freedom = seed_noise([[0.5, 0.6], [0.8, 0.8]])
    assert (std, freedom) == (pytest.approx(np.sqrt(0.005 / 2)), 2)


def test_mean_interval_combines_images_and_seeds():
    assert mean_interval(0.7, None, 1, (0.0, 0)) is None
    assert mean_interval(0.7, 100, 1, (0.0, 0)) == pytest.approx(wilson(70, 100))
    low, high = mean_interval(0.7, None, 4, (0.02, 3))
    assert (high - low) / 2 == pytest.approx(3.182 * 0.02 / 2, rel=1e-3)  # Student's t with 3 degrees of freedom
    both = mean_interval(0.7, 100, 4, (0.02, 3))
    assert both.low < wilson(70, 100).low
    assert both.low < low


def test_ratio_interval():
    exact = ratio_interval(*((mean, Interval(mean, mean)) for mean in (0.7, 0.5, 0.9)))
    assert exact == pytest.approx((0.5, 0.5))
    low, high = ratio_interval(*((mean, wilson(mean * 1000, 1000)) for mean in (0.7, 0.5, 0.9)))
    assert 0.39 < low < 0.5 < high < 0.61
