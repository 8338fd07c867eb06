"""The class shares of a target are recovered without its labels, from synthetic classifiers with known shares."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from job.evaluation.label_shift import estimate
from job.evaluation.label_shift.calibration import Calibration, calibrate
from job.evaluation.label_shift.estimate import estimate_shares
from job.evaluation.label_shift.shares import black_box, distance, maximum_likelihood

RESAMPLES = (20, 100)
CLASSES = 5
MEANS = np.random.default_rng(1).normal(size=(CLASSES, 6)) * 1.3
SOURCE = np.array([0.3, 0.2, 0.2, 0.2, 0.1])
TARGET = np.array([0.1, 0.5, 0.2, 0.0, 0.2])


@pytest.fixture(autouse=True)
def _all_resamples(monkeypatch):
    monkeypatch.setattr(estimate, "_RESAMPLES", RESAMPLES)


def draw(shares, rows, seed, contrast=1.0):
    """Draw inputs [n, 6] and labels: normal distributions around MEANS. Less contrast: another domain."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(CLASSES, rows, p=shares)
    return contrast * (MEANS[labels] + rng.normal(size=(rows, MEANS.shape[1]))), labels


def logits(inputs, shares=SOURCE, scale=1.0, bias=0.0):
    """Return the logits of the true posterior where the classes have these shares, spoiled by a scale and a bias."""
    return scale * (inputs @ MEANS.T - 0.5 * (MEANS**2).sum(1) + np.log(shares)) + bias


def estimated(scale=1.0, bias=0.0, target=TARGET, contrast=1.0, rows=2000):
    source, labels = draw(SOURCE, rows, 1)
    unlabelled, _ = draw(target, rows, 2, contrast)
    counts = 1000 * SOURCE
    return estimate_shares(
        logits(source, scale=scale, bias=bias), labels, logits(unlabelled, scale=scale, bias=bias), counts
    )


BIAS = np.array([1.0, -1.0, 0.5, 0.0, -0.5])


def test_em_of_two_classes_agrees_with_the_likelihood_on_a_grid():
    """Saerens et al. 2002: the shares maximise sum_i log sum_y q(y) p(y|x_i) / p(y)."""
    p = softmax(np.random.default_rng(0).normal(size=(200, 2)) * 2, axis=1)
    source = np.array([0.6, 0.4])
    grid = np.linspace(0.001, 0.999, 9981)
    likelihood = np.log(p[:, :1] / source[0] * grid + p[:, 1:] / source[1] * (1 - grid)).sum(0)
    (shares,) = maximum_likelihood(p, source)
    assert shares[0] == pytest.approx(grid[likelihood.argmax()], abs=2e-3)


def test_em_of_uncertain_predictions_ends_at_the_maximum():
    """Plain expectation maximisation takes 11,000 iterations here: at the maximum all classes with a share have a
    gradient of 1, and no other class has a larger one (the conditions of Karush, Kuhn and Tucker).
    """
    p = softmax(np.random.default_rng(1).normal(size=(2, 500, 7)) * 0.5, axis=2)
    source = p.mean(1) * np.random.default_rng(2).uniform(0.7, 1.3, 7)
    source /= source.sum(1, keepdims=True)
    counts = np.random.default_rng(3).integers(0, 4, (2, 500))
    together = maximum_likelihood(p, source, counts)
    for shares, alone, reference, own in zip(together, p, source, counts):
        np.testing.assert_allclose(shares, maximum_likelihood(alone, reference, own[None])[0], atol=1e-9)
        ratio = alone / reference
        gradient = np.average(ratio / (ratio @ shares)[:, None], axis=0, weights=own)
        np.testing.assert_allclose(gradient[shares > 1e-3], 1, atol=1e-4)
        assert gradient.max() < 1 + 1e-4


def test_em_of_a_network_that_has_learned_nothing_overflows_nowhere():
    """Its shares move so little in an iteration that the change of the movement rounds to 0."""
    for seed in range(20):
        ratio = 1 + np.random.default_rng(seed).uniform(-1e-6, 1e-6, (20, 2))
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            (shares,) = maximum_likelihood(ratio / 2, np.full(2, 0.5))
        assert shares.sum() == pytest.approx(1)


def test_em_counts_rows_by_their_weights():
    p = softmax(np.random.default_rng(0).normal(size=(50, 3)), axis=1)
    times = np.random.default_rng(1).integers(0, 4, (2, 50))
    source = np.full(3, 1 / 3)
    both = maximum_likelihood(p, source, times)
    for shares, own in zip(both, times):
        np.testing.assert_allclose(shares, maximum_likelihood(np.repeat(p, own, axis=0), source)[0], atol=1e-4)


def test_bbse_solves_the_system_of_the_confusion_matrix():
    """A classifier with known confusions, by hand: 0.8 and 0.9 right, shares 0.5 -> 0.25 and 0.75."""
    confusion = np.array([[80, 20], [10, 90]])
    predicted = np.array([0.25 * 0.8 + 0.75 * 0.1, 0.25 * 0.2 + 0.75 * 0.9])
    np.testing.assert_allclose(black_box(confusion, predicted), [0.25, 0.75], atol=1e-9)


def test_bbse_has_no_negative_shares_and_survives_a_singular_matrix():
    shares = black_box(np.array([[50, 50], [50, 50]]), np.array([9, 1]))
    assert (shares >= 0).all()
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(black_box(np.array([[80, 20], [10, 90]]), np.array([1, 0])), [1, 0], atol=1e-9)


def test_calibration_recovers_scale_and_bias():
    inputs, labels = draw(SOURCE, 20_000, 3)
    spoiled = logits(inputs, scale=3.0, bias=BIAS)
    fitted = calibrate(spoiled, labels)
    assert fitted.temperature == pytest.approx(3.0, rel=0.05)
    np.testing.assert_allclose(fitted.bias, -BIAS / 3 + BIAS.mean() / 3, atol=0.12)
    np.testing.assert_allclose(fitted.probabilities(spoiled), softmax(logits(inputs), axis=1), atol=0.05)


def test_calibration_is_finite_where_every_row_is_right_and_a_class_is_missing():
    fitted = calibrate(np.eye(4)[[0, 1, 2] * 20] * 30.0, np.array([0, 1, 2] * 20))
    assert np.isfinite([fitted.temperature, *fitted.bias]).all()


@pytest.mark.parametrize(("scale", "bias"), [(1.0, 0.0), (5.0, 0.0), (5.0, BIAS), (0.2, 0.1 * BIAS)])
def test_shares_are_recovered_with_and_without_miscalibration(scale, bias):
    estimate = estimated(scale, bias)
    assert distance(estimate.likely.share, TARGET) < 0.03
    assert distance(estimate.black_box.share, TARGET) < 0.06
    assert estimate.distance == pytest.approx(distance(SOURCE, TARGET), abs=0.04)
    assert estimate.distance_low < estimate.distance < estimate.distance_high


def test_without_calibration_overconfident_logits_give_worse_shares():
    inputs, _ = draw(TARGET, 2000, 2)
    raw = maximum_likelihood(np.exp(log_softmax(logits(inputs, scale=5.0, bias=3 * BIAS), axis=1)), SOURCE)[0]
    assert distance(raw, TARGET) > 2 * distance(estimated(5.0, 3 * BIAS).likely.share, TARGET)


def test_intervals_cover_the_true_shares():
    covered = []
    for seed in range(12):
        source, labels = draw(SOURCE, 300, 100 + seed)
        target, _ = draw(TARGET, 300, 200 + seed)
        likely = estimate_shares(logits(source), labels, logits(target), SOURCE * 100).likely
        covered.append((likely.low - 0.002 <= TARGET) & (likely.high + 0.002 >= TARGET))  # EM is slow to reach 0
    assert np.mean(covered) > 0.85


def test_equal_shares_are_found_equal():
    estimate = estimated(target=SOURCE)
    assert estimate.distance < 0.05
    assert ((estimate.likely.low <= SOURCE) & (estimate.likely.high >= SOURCE)).sum() >= CLASSES - 1


def test_the_estimate_is_the_same_at_every_call():
    one, other = estimated(rows=200), estimated(rows=200)
    assert one.as_json() == other.as_json()


def test_a_shift_of_the_images_is_not_mistaken_for_a_shift_of_the_classes():
    """The images move and the shares do not: the estimate is wrong, and is not trusted."""
    estimate = estimated(target=SOURCE, contrast=0.7)
    assert estimate.distance > 0.1
    assert estimate.target_error > estimated(target=SOURCE).target_error
    assert distance(estimate.trusted, SOURCE) < 0.5 * estimate.distance


def test_a_trusted_estimate_lies_between_both_shares():
    estimate = estimated()
    assert 0.5 < estimate.trust < 1
    np.testing.assert_allclose(estimate.trusted.sum(), 1)
    assert distance(estimate.trusted, SOURCE) == pytest.approx(estimate.trust * estimate.distance)


def test_the_noise_of_a_small_target_is_not_trusted_even_without_wrong_predictions():
    """40 well separated rows with the source's shares: their shares differ by chance alone."""
    source, labels = draw(SOURCE, 1000, 1, contrast=5)
    trusts = []
    for seed in range(4):
        target, _ = draw(SOURCE, 40, 100 + seed, contrast=5)
        one = estimate_shares(logits(source), labels, logits(target), 1000 * SOURCE)
        assert one.distance_low <= one.distance <= one.distance_high
        trusts.append(one.trust)
        assert distance(one.trusted, SOURCE) < 0.75 * one.distance
    assert np.mean(trusts) < 0.4


@pytest.mark.parametrize("seed", range(3))
def test_two_estimates_that_disagree_are_not_trusted(seed):
    """A network that has learned nothing sees another brightness in the target: its estimates are arbitrary."""
    rng = np.random.default_rng(seed)
    weights, bright = rng.normal(size=(6, CLASSES)), rng.normal(size=CLASSES)
    source, labels = draw(SOURCE, 400, seed)
    target, _ = draw(SOURCE, 400, 10 + seed)
    one = estimate_shares(0.05 * source @ weights, labels, 0.05 * (target @ weights + 10 * bright), 1000 * SOURCE)
    assert one.distance > 0.3
    assert one.disagreement >= one.distance
    assert one.trust == 0
    np.testing.assert_array_equal(one.trusted, SOURCE)
    sure = replace(one, target_error=0.0, sampling_error=0.0, excess=0.0)
    assert (sure.trust, sure.objection) == (0, "two estimates of the class shares differ (MLLS and BBSE)")
    assert "less certain" in replace(sure, excess=9.0).objection
    assert "or chance" in replace(sure, target_error=one.distance).objection
    assert "or chance" in replace(sure, distance=0.0).objection, "no difference"


def test_the_certainty_of_many_rows_is_compared_in_little_memory():
    """One domain after the other, in place; at most four arrays of a domain's size at once, in the softmax."""
    rows = np.random.default_rng(0).normal(size=(2000, 100))
    calibration = Calibration(1.0, np.zeros(100))
    tracemalloc.start()
    try:
        estimate._excess(calibration, rows, np.arange(2000) % 100, rows, np.full(100, 0.01))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4.2 * rows.nbytes


def test_too_few_rows_and_broken_logits_give_no_estimate():
    assert estimated(rows=10) is None
    source, labels = draw(SOURCE, 100, 1)
    assert estimate_shares(np.full((100, CLASSES), np.nan), labels, logits(source), SOURCE) is None
    assert estimate_shares(logits(source), np.full(100, -1), logits(source), SOURCE) is None


def test_a_class_that_the_source_lacks_has_no_share():
    source, labels = draw(np.array([0.4, 0.3, 0.3, 0, 0]), 200, 1)
    target, _ = draw(np.array([0.2, 0.4, 0.4, 0, 0]), 200, 2)
    estimate = estimate_shares(logits(source), labels, logits(target), np.array([40, 30, 30, 0, 0]))
    assert np.isfinite(estimate.likely.share).all()
    assert estimate.black_box.share[3:].sum() == 0


@pytest.mark.parametrize("classes", [3, 65])
def test_the_calibration_is_the_optimum_of_its_loss(classes):
    """Rows that are drawn several times count as often; a search from another start ends at the same place."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, classes, 300)
    logits = rng.normal(0, 1.5, (300, classes)) + 3 * np.eye(classes)[labels]
    counts = rng.multinomial(300, np.full(300, 1 / 300))
    found = calibrate(logits, labels, counts)

    def loss(x):
        log_p = log_softmax(logits * np.exp(-x[0]) + x[1:], axis=1)
        return -(counts / 300) @ log_p[np.arange(300), labels] + x @ x / 600

    x = np.concatenate([[np.log(found.temperature)], found.bias])
    steps = 1e-5 * np.eye(classes + 1)
    slopes = [(loss(x + step) - loss(x - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(slopes, 0, atol=1e-7)
    assert all(loss(x + 10 * step) > loss(x) for step in steps)
    again = calibrate(logits, labels, counts, start=Calibration(5.0, rng.normal(0, 2, classes)))
    np.testing.assert_allclose(again.bias, found.bias, atol=1e-6)


def test_the_calibration_of_rows_without_an_error_or_of_a_dead_network_is_finite():
    labels = np.repeat(np.arange(3), 20)
    for logits in (100 * np.eye(3)[labels], np.zeros((60, 3)), 1e6 * np.eye(3)[labels]):
        found = calibrate(logits, labels)
        assert np.isfinite(found.probabilities(logits)).all()
        assert 0.005 < found.temperature < 150
