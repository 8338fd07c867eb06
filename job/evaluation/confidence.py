"""Calibrated probabilities for `predict`, stored in checkpoints and fitted without target labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from job.evaluation.label_shift.calibration import Calibration, calibrate
from job.evaluation.label_shift.estimate import Estimate
from job.evaluation.label_shift.shares import distance
from job.evaluation.samples import FEWEST, Sample


@dataclass(frozen=True)
class Confidence:
    """Temperature and biases of the source's validation split and, where they were estimated, the target's shares.

    `source_shares` are the mean calibrated prediction on the source's validation split, `target_shares` those of the
    target, float64 [C]: both None without an estimate, or where something speaks against it, which is `objection`.
    """

    calibration: Calibration
    source_shares: np.ndarray | None = None
    target_shares: np.ndarray | None = None
    objection: str | None = None

    @property
    def correction(self) -> str:
        """Whether the probabilities are corrected for the class shares of the target, and if not why, in words."""
        if self.source_shares is None or self.target_shares is None:
            return f"not corrected for class shares: {self.objection or 'those of the target were not estimated'}"
        apart = 100 * distance(self.target_shares, self.source_shares / self.source_shares.sum())
        return f"corrected for class shares of the target that differ by an estimated {apart:.0f} % from the source's"

    def probabilities(self, log_probabilities: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities float64 [n, C] of log-probabilities [n, C], with the target's class shares.

        The correction is that of Saerens, Latinne & Decaestecker 2002, eq. 4: each class times its share in the target
        over its share in the source.
        """
        probabilities = self.calibration.probabilities(log_probabilities)
        if self.source_shares is None or self.target_shares is None:
            return probabilities
        probabilities = probabilities * self.target_shares / np.maximum(self.source_shares, 1e-6)
        return probabilities / np.maximum(probabilities.sum(1, keepdims=True), 1e-300)

    def as_json(self) -> dict[str, Any]:
        """Return the numbers as JSON types."""
        shares = {"source_shares": self.source_shares, "target_shares": self.target_shares}
        numbers = {"temperature": self.calibration.temperature, "bias": self.calibration.bias.tolist()}
        lists = {name: None if value is None else value.tolist() for name, value in shares.items()}
        return numbers | lists | {"objection": self.objection}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Confidence":
        """Return the object that `as_json` described."""
        source, target = (content[name] and np.array(content[name]) for name in ("source_shares", "target_shares"))
        calibration = Calibration(content["temperature"], np.array(content["bias"]))
        return cls(calibration, source, target, content.get("objection"))


def fit_confidence(source: Sample | None, estimate: Estimate | None) -> Confidence | None:
    """Fit a calibration to a sample of the source's validation split; None with too few labels or infinite numbers."""
    if source is None:
        return None
    known = source.labels >= 0
    logits, labels = source.log_probabilities[known].astype(np.float64), source.labels[known]
    if len(labels) < FEWEST or not np.isfinite(logits).all():
        return None
    if estimate is None:
        return Confidence(calibrate(logits, labels))
    if estimate.objection is not None:
        return Confidence(estimate.calibration, objection=estimate.objection)
    reference = estimate.calibration.probabilities(logits).mean(0)
    return Confidence(estimate.calibration, reference, estimate.trusted)
