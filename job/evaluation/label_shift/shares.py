"""Estimators of the target's class shares under label shift: p(image | class) is equal in both domains."""

import numpy as np

_TOLERANCE = 1e-7  # of the shares, between two iterations
_ITERATIONS = 1000


def maximum_likelihood(
    probabilities: np.ndarray, source_shares: np.ndarray, counts: np.ndarray | None = None
) -> np.ndarray:
    """Return the class shares float64 [B, C] of maximum likelihood, by expectation maximisation.

    Saerens, Latinne & Decaestecker 2002, "Adjusting the Outputs of a Classifier to New a Priori Probabilities", eq. 9.
    Uncertain predictions would take hundreds of iterations, so each two of them are extrapolated: Varadhan & Roland
    2008, "Simple and Globally Convergent Methods for Accelerating the Convergence of Any EM Algorithm", scheme S3.
    `probabilities` [m, C] are those of target rows, calibrated where the class shares are `source_shares` [C]; those of
    B problems are [B, m, C] and [B, C]. Row i counts `counts[b, i]` times in problem b of [B, m]; by default there is
    one problem, and each row counts once. A class of share 0 in the source stays at 0.
    """
    counts = np.ones((1, probabilities.shape[-2])) if counts is None else counts
    weights = counts / counts.sum(1, keepdims=True)
    source = np.broadcast_to(source_shares, (len(weights), source_shares.shape[-1]))
    present = source[:, None] > 0
    scaled = np.where(present, probabilities / np.where(present, source[:, None], 1.0), 0.0)  # [B, m, C]
    shares = source / source.sum(1, keepdims=True)
    left = np.arange(len(shares))  # the problems that are not solved
    for _ in range(_ITERATIONS):
        start = shares[left]
        once, _ = _improve(start, scaled, weights)
        twice, _ = _improve(once, scaled, weights)
        shares[left] = twice
        unsolved = np.abs(twice - once).max(1) >= _TOLERANCE
        if not unsolved.any():
            break
        if not unsolved.all():
            left, scaled, weights = left[unsolved], scaled[unsolved], weights[unsolved]
            start, once, twice = start[unsolved], once[unsolved], twice[unsolved]
        shares[left] = _extrapolate(start, once, twice, scaled, weights)
    return shares


def _improve(shares: np.ndarray, scaled: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares [B, C] after an iteration, and the likelihood [B, m] of each row under those before."""
    evidence = np.maximum((scaled @ shares[:, :, None])[:, :, 0], 1e-300)
    new = shares * ((weights / evidence)[:, None] @ scaled)[:, 0]
    return new / new.sum(1, keepdims=True), evidence


def _extrapolate(
    shares: np.ndarray, once: np.ndarray, twice: np.ndarray, scaled: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the shares [B, C] after a third iteration, from the extrapolation of two if that is more likely."""
    first, second = once - shares, twice - 2 * once + shares
    length, bend = (np.linalg.norm(each, axis=1, keepdims=True) for each in (first, second))
    factor = np.clip(length / np.maximum(bend, 1e-300), 1.0, 1e8)  # a bend may round to 0, and the square overflow
    far = np.maximum(shares + 2 * factor * first + factor**2 * second, twice / 10)  # a share of 0 would stay 0
    from_far, of_far = _improve(far / far.sum(1, keepdims=True), scaled, weights)
    from_twice, of_twice = _improve(twice, scaled, weights)
    better = (weights * np.log(of_far)).sum(1) >= (weights * np.log(of_twice)).sum(1)
    return np.where(better[:, None], from_far, from_twice)


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
