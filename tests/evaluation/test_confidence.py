"""Calibrated probabilities: a temperature from the source, and the class shares of the target."""

import json

import numpy as np
import pytest
from scipy.special import log_softmax

from job.evaluation.confidence import Confidence, fit_confidence
from job.evaluation.label_shift.estimate import estimate_shares
from job.evaluation.samples import Sample
from job.run_folder.checkpoint_meta import _Confidence

CENTRES = 2.0 * np.eye(3)


def rows(count, shares, seed, sharper=3.0, moved=0.0):
    """Classes and log-probabilities of a classifier that knows the densities, but is `sharper` than it should be.

    The points are `moved` away from where the classifier knows them.
    """
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, count, p=shares)
    points = CENTRES[labels] + rng.normal(size=(count, 3)) + moved
    densities = -((points[:, None] - CENTRES) ** 2).sum(2) / 2
    return labels, log_softmax(sharper * densities, axis=1).astype(np.float32)


def sample(labels, logs):
    return Sample(np.zeros((len(labels), 1)), logs, labels, logs.argmax(1), np.zeros(0), None, None)


def gap(probabilities, labels):
    """Difference of the mean confidence and the accuracy."""
    return abs(probabilities.max(1).mean() - (probabilities.argmax(1) == labels).mean())


def test_an_overconfident_network_is_corrected():
    confidence = fit_confidence(sample(*rows(800, [1 / 3] * 3, 0)), None)
    assert confidence.calibration.temperature == pytest.approx(3, rel=0.15)
    labels, logs = rows(2000, [1 / 3] * 3, 1)
    assert gap(np.exp(logs), labels) > 0.08
    assert gap(confidence.probabilities(logs), labels) < 0.03
    np.testing.assert_allclose(confidence.probabilities(logs).sum(1), 1)


def test_the_shares_of_the_target_are_taken_over():
    shares = [0.7, 0.25, 0.05]
    source, (labels, target) = rows(1500, [1 / 3] * 3, 0), rows(3000, shares, 1)
    estimate = estimate_shares(source[1], source[0], target, np.array([500, 500, 500]))
    confidence = fit_confidence(sample(*source), estimate)
    corrected, plain = confidence.probabilities(target), confidence.calibration.probabilities(target)
    assert gap(corrected, labels) < 0.04
    assert (corrected.argmax(1) == labels).mean() > (plain.argmax(1) == labels).mean() + 0.01
    np.testing.assert_allclose(corrected.mean(0), shares, atol=0.06)


def test_shares_are_not_taken_over_where_the_images_differ_too():
    """A shift of the images towards one class looks like more images of it, and the correction would add to it.

    The network has not moved with them, so its predictions are less certain than other class shares would make them.
    """
    source, (labels, target) = rows(1500, [1 / 3] * 3, 0), rows(3000, [1 / 3] * 3, 1, moved=[1.0, 0.3, 0.0])
    estimate = estimate_shares(source[1], source[0], target, np.array([500, 500, 500]))
    assert estimate.trust > 0.5, "the errors are estimated too low"
    assert estimate.target_error < (target.argmax(1) != labels).mean() - 0.02
    confidence = fit_confidence(sample(*source), estimate)
    assert confidence.target_shares is None
    assert confidence.correction == f"not corrected for class shares: {estimate.objection}"
    assert "less certain" in estimate.objection
    shifted = confidence.calibration.probabilities(target) * estimate.trusted
    assert (shifted.argmax(1) == labels).mean() < (target.argmax(1) == labels).mean() - 0.01, "it would hurt"


def test_it_says_whether_it_corrects():
    source, (_, target) = rows(1500, [1 / 3] * 3, 0), rows(3000, [0.7, 0.25, 0.05], 1)
    estimate = estimate_shares(source[1], source[0], target, np.array([500, 500, 500]))
    assert "differ by an estimated 3" in fit_confidence(sample(*source), estimate).correction
    assert "were not estimated" in fit_confidence(sample(*source), None).correction
    old = {"temperature": 1.0, "bias": [0.0] * 3, "source_shares": [1 / 3] * 3, "target_shares": [0.5, 0.3, 0.2]}
    assert "an estimated 17 %" in Confidence.from_json(old).correction, "of a checkpoint of an earlier version"


def test_it_is_stored_as_json_and_read_again():
    source, (_, target) = rows(200, [1 / 3] * 3, 0), rows(200, [0.6, 0.3, 0.1], 1)
    estimate = estimate_shares(source[1], source[0], target, np.array([5, 5, 5]))
    for fitted in (fit_confidence(sample(*source), estimate), fit_confidence(sample(*source), None)):
        content = json.loads(json.dumps(fitted.as_json()))
        assert _Confidence.model_validate(content).model_dump() == content
        again = Confidence.from_json(content)
        np.testing.assert_array_equal(again.probabilities(target), fitted.probabilities(target))


def test_without_labels_nothing_is_fitted():
    labels, logs = rows(100, [1 / 3] * 3, 0)
    assert fit_confidence(None, None) is None
    assert fit_confidence(sample(np.full(100, -1), logs), None) is None
    assert fit_confidence(sample(labels[:19], logs[:19]), None) is None
