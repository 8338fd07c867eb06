"""Estimate the target's class shares with 95 % intervals, from predictions on both validation splits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from job.evaluation.label_shift.calibration import Calibration, calibrate
from job.evaluation.label_shift.shares import black_box, distance, maximum_likelihood
from job.evaluation.samples import FEWEST

PREFIX = "label_shift/"  # of the metrics
_WORK = 20_000_000  # rows x classes x resamples of the bootstrap
_RESAMPLES = (20, 100)
_AT_ONCE = 1_000_000  # rows x classes x resamples whose shares are found together
_QUANTILES = (0.025, 0.975)
_MOST_EXCESS = 2.0  # standard errors
_MOST_DISAGREEMENT = 0.3  # of the distance from the source's shares


@dataclass(frozen=True)
class Shares:
    """Class shares of the target, float64 [C] each, with a 95 % interval."""

    share: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """Estimates of the target's class shares.

    The intervals are those of a bootstrap over the rows of both domains. They cover the randomness of the samples, not
    errors of the assumption that a class looks alike in both domains. `target_error` says how large those can be: if a
    share e of the predictions is wrong, the estimated shares can be wrong by a distance of e.
    """

    source: np.ndarray  # float64 [C], shares of the source's training split
    likely: Shares  # maximum likelihood on calibrated predictions
    black_box: Shares
    distance: float  # total variation distance of `likely` from `source`
    distance_low: float
    distance_high: float
    black_box_distance: float
    calibration: Calibration  # of the source's validation split
    target_error: float  # estimated share of wrong predictions on the target
    sampling_error: float = 0.0  # mean total variation distance of the resamples' shares from `likely`
    excess: float = 0.0  # standard errors by which the target's predictions are less certain than label shift explains

    @property
    def disagreement(self) -> float:
        """Total variation distance of the two estimates, `likely` and `black_box`."""
        return float(distance(self.likely.share, self.black_box.share))

    @property
    def error(self) -> float:
        """How far from the source's shares wrong predictions and chance may have moved the estimate."""
        return float(np.hypot(self.target_error, self.sampling_error))

    @property
    def trust(self) -> float:
        """The part of the difference from the source's shares that counts, in [0, 1].

        It is 1 - (target_error^2 + sampling_error^2) / distance^2, at least 0: the factor of a shrinkage estimator of
        James and Stein's kind for a difference that was measured with two independent errors (positive part: Baranchik
        1964). It is 0 if wrong predictions, or the few images of a small sample, explain the difference. It is 0, too,
        if the two estimates are further from each other than from the source's shares, as those of a network that has
        learned nothing are.
        """
        if self.disagreement >= self.distance:
            return 0.0
        return max(0.0, float(1 - (self.error / self.distance) ** 2))

    @property
    def trusted(self) -> np.ndarray:
        """The shares float64 [C] that a correction may use: `likely`, moved towards the source's by `trust`."""
        return self.source + self.trust * (self.likely.share - self.source)

    @property
    def objection(self) -> str | None:
        """Why predictions should not be corrected by the shares; None if nothing speaks against it.

        If classes look alike in both domains, as the estimators assume, the predictions on the target are as certain as
        those on the source, weighted to the target's shares, and both estimates agree. If not, the correction moves
        predictions to the classes onto which the shift of the images has moved them already.
        """
        if self.error >= self.distance:
            return "wrong predictions or chance explain the estimated class shares"
        if self.excess > _MOST_EXCESS:
            return "the predictions on the target are less certain than other class shares alone would make them"
        if self.disagreement > _MOST_DISAGREEMENT * self.distance:
            return "two estimates of the class shares differ (MLLS and BBSE)"
        return None

    def metrics(self, class_names: Sequence[str]) -> dict[str, float]:
        """Return the metrics of an evaluation."""
        values = {"distance": self.distance, "target_error": self.target_error}
        for family, shares in (("target_share", self.likely.share), ("bbse_share", self.black_box.share)):
            values |= {f"{family}/{name}": float(share) for name, share in zip(class_names, shares, strict=True)}
        return {PREFIX + name: value for name, value in values.items()}

    def as_json(self) -> dict[str, Any]:
        """Return the estimate as JSON types."""
        return {
            "source": self.source.tolist(),
            "target": {name: value.tolist() for name, value in vars(self.likely).items()},
            "black_box": {name: value.tolist() for name, value in vars(self.black_box).items()},
            "distance": self.distance,
            "distance_low": self.distance_low,
            "distance_high": self.distance_high,
            "black_box_distance": self.black_box_distance,
            "temperature": self.calibration.temperature,
            "target_error": self.target_error,
            "sampling_error": self.sampling_error,
            "excess": self.excess,
            "disagreement": self.disagreement,
            "trust": self.trust,
        }


def estimate_shares(
    source_logits: np.ndarray, source_labels: np.ndarray, target_logits: np.ndarray, source_counts: np.ndarray
) -> Estimate | None:
    """Estimate the class shares of the target, C classes; None where a domain has fewer than FEWEST rows, or a
    logit is not finite.

    `source_logits` [n, C] with `source_labels` int64 [n] are of the source's validation split (rows of label -1 are
    left out), `target_logits` [m, C] of the target's, and `source_counts` [C] are the images of each class in the
    source's training split. The random numbers are the same at every call.
    """
    known = source_labels >= 0
    logits, labels = source_logits[known].astype(np.float64), source_labels[known]
    target = target_logits.astype(np.float64)
    enough = min(len(logits), len(target)) >= FEWEST and source_counts.sum() > 0
    if not enough or not (np.isfinite(logits).all() and np.isfinite(target).all()):
        return None
    classes = len(source_counts)
    resamples = int(np.clip(_WORK // (len(target) * classes), *_RESAMPLES))
    rng = np.random.default_rng(0)
    source_times = _resample(rng, len(logits), resamples)
    target_times = _resample(rng, len(target), resamples)
    calibration = calibrate(logits, labels)
    likely = _likely(calibration, logits, labels, target, source_times, target_times)
    boxes = _black_boxes(logits, labels, target, source_times, target_times)
    source = source_counts / source_counts.sum()
    apart = distance(likely, source)
    low, high = np.quantile(apart[1:], _QUANTILES)
    return Estimate(
        source=source,
        likely=_interval(likely),
        black_box=_interval(boxes),
        distance=float(apart[0]),
        distance_low=float(min(low, apart[0])),
        distance_high=float(max(high, apart[0])),
        black_box_distance=float(distance(boxes[0], source)),
        calibration=calibration,
        target_error=_target_error(calibration, logits, labels, target),
        sampling_error=float(distance(likely[1:], likely[0]).mean()),
        excess=_excess(calibration, logits, labels, target, likely[0]),
    )


def _resample(rng: np.random.Generator, rows: int, resamples: int) -> np.ndarray:
    """Return how often each of the resamples contains each row: int64 [resamples, rows]."""
    return rng.multinomial(rows, np.full(rows, 1 / rows), size=resamples)


def _likely(
    calibration: Calibration,
    source: np.ndarray,
    labels: np.ndarray,
    target: np.ndarray,
    source_times: np.ndarray,
    target_times: np.ndarray,
) -> np.ndarray:
    """Return the shares [1 + resamples, C] of maximum likelihood: of all rows, then of resamples, each calibrated anew.

    The shares that the calibrated predictions refer to are their own mean on the source (Alexandari et al. 2020,
    sec. 4), so it does not matter whether the network was trained with other shares or with class weights.
    """
    resamples = [(calibrate(source, labels, own, start=calibration), own) for own in source_times]
    fits = [(calibration, np.ones(len(source))), *resamples]
    counts = np.concatenate([np.ones((1, len(target))), target_times])
    shares, size = [], max(_AT_ONCE // target.size, 1)
    for first in range(0, len(fits), size):
        some = fits[first : first + size]
        references = [np.average(fit.probabilities(source), axis=0, weights=times) for fit, times in some]
        predictions = np.array([fit.probabilities(target) for fit, _ in some])
        shares.append(maximum_likelihood(predictions, np.array(references), counts[first : first + size]))
    return np.concatenate(shares)


def _target_error(calibration: Calibration, source: np.ndarray, labels: np.ndarray, target: np.ndarray) -> float:
    """Estimate the share of wrong predictions on the target: average thresholded confidence.

    Garg et al. 2022, "Leveraging Unlabeled Data to Predict Out-of-Distribution Performance", eq. 2, with negative
    entropy: the share of target rows below the threshold under which lie as many source rows as are wrong.
    """
    wrong = np.mean(source.argmax(1) != labels)
    certainty = [_negative_entropy(calibration.probabilities(logits)) for logits in (source, target)]
    return float(np.mean(certainty[1] < np.quantile(certainty[0], wrong)))


def _excess(
    calibration: Calibration, source: np.ndarray, labels: np.ndarray, target: np.ndarray, shares: np.ndarray
) -> float:
    """Return how much less certain the predictions on the target are than on the source, in standard errors.

    Certainty is the mean negative entropy, after the predictions of both domains were corrected to the class `shares`
    and the labelled rows of the source weighted to them. Under label shift both means are equal, up to chance.
    """
    predictions = calibration.probabilities(source)
    ratio = shares / np.maximum(predictions.mean(0), 1e-6)
    certainty = [_corrected_certainty(predictions, ratio)]
    del predictions  # those of a domain need gigabytes for many rows and classes
    certainty.append(_corrected_certainty(calibration.probabilities(target), ratio))
    weights = (shares / np.maximum(np.bincount(labels, minlength=len(shares)), 1))[labels]
    weights = weights / max(weights.sum(), 1e-300)
    mean = weights @ certainty[0]
    variance = weights**2 @ (certainty[0] - mean) ** 2 + certainty[1].var() / len(target)
    return float((mean - certainty[1].mean()) / np.sqrt(variance + 1e-12))


def _corrected_certainty(predictions: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Correct predictions [n, C] in place by the `ratio` [C] of class shares, and return their negative entropy [n]."""
    predictions *= ratio
    predictions /= np.maximum(predictions.sum(1, keepdims=True), 1e-300)
    return _negative_entropy(predictions)


def _negative_entropy(probabilities: np.ndarray) -> np.ndarray:
    terms = np.maximum(probabilities, 1e-12)
    np.log(terms, out=terms)
    terms *= probabilities
    return terms.sum(1)


def _black_boxes(
    logits: np.ndarray, labels: np.ndarray, target: np.ndarray, source_times: np.ndarray, target_times: np.ndarray
) -> np.ndarray:
    """Return the shares [1 + resamples, C] of BBSE: of all rows once, then of each resample."""
    classes = logits.shape[1]
    pairs, predicted = labels * classes + logits.argmax(1), target.argmax(1)
    shares = []
    for own, other in zip([np.ones(len(logits)), *source_times], [np.ones(len(target)), *target_times], strict=True):
        confusion = np.bincount(pairs, own, classes * classes).reshape(classes, classes)
        shares.append(black_box(confusion, np.bincount(predicted, other, classes)))
    return np.array(shares)


def _interval(shares: np.ndarray) -> Shares:
    """Return the first row of [1 + resamples, C] shares with the interval of the others."""
    low, high = np.quantile(shares[1:], _QUANTILES, axis=0)
    return Shares(shares[0], np.minimum(low, shares[0]), np.maximum(high, shares[0]))
