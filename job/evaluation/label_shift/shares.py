"""Estimators of the target's class shares under label shift: p(image | class) is equal in both domains."""

import numpy as np

_TOLERANCE = 1e-6  # of the shares, between two iterations
_ITERATIONS = 1000


def maximum_likelihood(
    probabilities: np.ndarray, source_shares: np.ndarray, counts: np.ndarray | None = None
) -> np.ndarray:
    """Return the class shares float64 [B, C] of maximum likelihood, by expectation maximisation.

    Saerens, Latinne & Decaestecker 2002, "Adjusting the Outputs of a Classifier to New a Priori Probabilities", eq. 9.
    `probabilities` [m, C] are those of target rows, calibrated where the class shares are `source_shares` [C]. Row i
    counts `counts[b, i]` times in problem b of [B, m]; by default there is one problem, and each row counts once.
    A class of share 0 in the source stays at 0.
    """
    rows = len(probabilities)
    counts = np.ones((1, rows)) if counts is None else counts
    weights = counts / counts.sum(1, keepdims=True)
    present = source_shares > 0
    scaled = np.where(present, probabilities / np.where(present, source_shares, 1.0), 0.0)
    shares = np.tile(source_shares / source_shares.sum(), (len(weights), 1))
    for _ in range(_ITERATIONS):
        evidence = np.maximum(shares @ scaled.T, 1e-300)  # [B, m]
        new = shares * ((weights / evidence) @ scaled)
        new /= new.sum(1, keepdims=True)
        change = np.abs(new - shares).max()
        shares = new
        if change < _TOLERANCE:
            break
    return shares


def black_box(confusion: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the class shares float64 [C] that explain the predictions on the target.

    Lipton, Wang & Smola 2018, "Detecting and Correcting for Label Shift with Black Box Predictors" (BBSE-hard), eq. 3:
    solve ``sum_y P(predicted, y) w(y) = Q(predicted)`` for the weights w, here by least squares with ``w >= 0``, so
    that a singular matrix and a noisy solution still give shares. `confusion` [C, C] counts the labelled source rows,
    rows are true classes; `predicted` [C] counts the predictions on the target. Returns the source's shares where no
    weight is positive.
    """
    from scipy.optimize import nnls

    joint = confusion.T / confusion.sum()  # [predicted, true]
    weights, _ = nnls(joint, predicted / predicted.sum())
    shares = weights * joint.sum(0)
    total = shares.sum()
    return shares / total if total > 0 else joint.sum(0)


def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the total variation distance of shares [..., C]: the share of the rows that would have to change class."""
    return np.abs(one - other).sum(-1) / 2
