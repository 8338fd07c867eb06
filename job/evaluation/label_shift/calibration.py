"""Bias-corrected temperature scaling: Alexandari, Kundaje & Shrikumar 2020, "Maximum Likelihood With Bias-Corrected
Calibration is Hard-To-Beat at Label Shift Adaptation", sec. 3.
"""

from dataclasses import dataclass

import numpy as np

_LARGEST = 5.0  # of |log temperature|: from 1/150 to 150
_LARGEST_BIAS = 20.0  # nats: a class without a labelled row would have a bias of minus infinity


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
    too. Biases sum to 0. `start` is where the search begins.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    rows, classes = logits.shape
    weights = np.full(rows, 1 / rows) if counts is None else counts / counts.sum()
    logits = np.asarray(logits, np.float64)
    truth = np.zeros((rows, classes))
    truth[np.arange(rows), labels] = 1.0
    frequency = weights @ truth
    at_label = logits[np.arange(rows), labels]

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        log_temperature, bias = x[0], x[1:]
        scaled = logits * np.exp(-log_temperature)
        log_p = log_softmax(scaled + bias, axis=1)
        p = np.exp(log_p)
        value = -weights @ log_p[np.arange(rows), labels] + (x @ x) / (2 * rows)
        by_bias = weights @ p - frequency
        by_scale = weights @ ((p * logits).sum(1) - at_label) * np.exp(-log_temperature)
        return float(value), np.concatenate([[-by_scale], by_bias]) + x / rows

    first = np.zeros(classes + 1)
    if start is not None:
        first = np.concatenate([[np.log(start.temperature)], start.bias])
    bounds = [(-_LARGEST, _LARGEST), *[(-_LARGEST_BIAS, _LARGEST_BIAS)] * classes]
    best = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 200}).x
    return Calibration(float(np.exp(best[0])), best[1:] - best[1:].mean())
