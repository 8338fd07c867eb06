"""Bias-corrected temperature scaling: Alexandari, Kundaje & Shrikumar 2020, "Maximum Likelihood With Bias-Corrected
Calibration is Hard-To-Beat at Label Shift Adaptation", sec. 3.
"""

from dataclasses import dataclass

import numpy as np

_LARGEST = 5.0  # of |log temperature|: from 1/150 to 150
_LARGEST_BIAS = 20.0  # nats: a class without a labelled row would have a bias of minus infinity
_TOLERANCE = 1e-13  # of the fall of the loss that a step promises: then the numbers are exact to 1e-6
_MOST_STEPS = 100
_SHORTEST = 1e-6  # part of a step


@dataclass(frozen=True)
class Calibration:
    """``softmax(logits / temperature + bias)``."""

    temperature: float
    bias: np.ndarray  # float64 [C], nats

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities float64 [n, C] of logits [n, C], of which log-probabilities are a case."""
        from scipy.special import log_softmax

        return np.exp(log_softmax(logits / self.temperature + self.bias, axis=1))


def calibrate(
    logits: np.ndarray, labels: np.ndarray, counts: np.ndarray | None = None, start: Calibration | None = None
) -> Calibration:
    """Fit temperature and bias to labelled rows: logits [n, C] and labels int64 [n], each counted `counts` [n] times.

    The fit minimises the mean negative log-likelihood, plus a ridge of ``|bias|^2 / 2n`` and ``(log temperature)^2 /
    2n``, a normal prior of one row's weight: few rows, or rows that are all classified correctly, have a finite optimum
    too. Biases sum to 0. `start` is where the search, by Newton's method with the expected curvature, begins.
    """
    rows, classes = logits.shape
    logits, weights = np.asarray(logits, np.float64), np.full(rows, 1 / rows)
    if counts is not None:
        drawn = counts > 0
        logits, labels, weights = logits[drawn], labels[drawn], counts[drawn] / counts.sum()
    at_label = np.arange(len(labels)), labels
    frequency = np.bincount(labels, weights, classes)
    x = np.zeros(classes + 1)  # log temperature, then the biases
    if start is not None:
        x[0], x[1:] = np.log(start.temperature), start.bias
    limit = np.array([_LARGEST, *[_LARGEST_BIAS] * classes])

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the loss, the scaled logits and the probabilities."""
        scaled = logits * np.exp(-x[0])
        z = scaled + x[1:]
        z -= z.max(1, keepdims=True)
        log_p = z[at_label]
        p = np.exp(z, out=z)
        total = p.sum(1)
        p /= total[:, None]
        return float(weights @ (np.log(total) - log_p) + x @ x / (2 * rows)), scaled, p

    loss, scaled, p = evaluate(x)
    for _ in range(_MOST_STEPS):
        gradient, curvature = _derivatives(scaled, p, weights, scaled[at_label], frequency)
        gradient += x / rows
        curvature[np.diag_indices(classes + 1)] += 1 / rows
        step = -np.linalg.solve(curvature, gradient)
        fall = -(gradient @ step)
        if fall < _TOLERANCE:
            break
        length, trial = 1.0, evaluate(np.clip(x + step, -limit, limit))
        while trial[0] > loss - 1e-4 * length * fall and length > _SHORTEST:
            length /= 2
            trial = evaluate(np.clip(x + length * step, -limit, limit))
        if trial[0] >= loss:
            break
        x = np.clip(x + length * step, -limit, limit)
        loss, scaled, p = trial
    return Calibration(float(np.exp(x[0])), x[1:] - x[1:].mean())


def _derivatives(
    scaled: np.ndarray, p: np.ndarray, weights: np.ndarray, at_label: np.ndarray, frequency: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return gradient [1 + C] and curvature [1 + C, 1 + C] of the mean negative log-likelihood.

    They are by log temperature and biases. The curvature is the expected one (Fisher scoring), never negative.
    """
    weighted = p * weights[:, None]
    mean = (p * scaled).sum(1)
    deviation = weighted * (scaled - mean[:, None])
    shares = weighted.sum(0)
    gradient = np.concatenate([[weights @ (at_label - mean)], shares - frequency])
    curvature = np.empty((len(gradient), len(gradient)))
    curvature[0, 0] = np.vdot(deviation, scaled)
    curvature[0, 1:] = curvature[1:, 0] = -deviation.sum(0)
    curvature[1:, 1:] = np.diag(shares) - p.T @ weighted
    return gradient, curvature
