"""Class weights that give the labelled source the class shares of the target.

Tachet des Combes, Zhao, Wang & Gordon 2020, "Domain Adaptation with Conditional Distribution Matching and Generalized
Label Shift", sec. 3: importance-weighted class loss (eq. 6) and domain loss (eq. 7).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

SMALLEST, LARGEST = 0.1, 10.0  # limits of a class's weight
KEPT = 0.5  # of the former shares at an evaluation


class EstimatedShares(NamedTuple):
    """Class shares of the target that an evaluation estimated without labels: C numbers each, with the sum 1."""

    target: Sequence[float]  # estimated class shares
    predicted: Sequence[float]  # mean predicted distribution


class LabelShift(nn.Module):
    """Class shares of both domains, as buffers [classes], which every evaluation updates and checkpoints store.

    Before the first estimate the target has the source's shares, and nothing is corrected. With `given` shares of the
    target these are used from the first step on, and evaluations move only the predicted ones.
    """

    source: Tensor  # of the training split
    target: Tensor
    predicted: Tensor  # mean prediction on the target
    weights: Tensor  # of the source's classes
    alignment: Tensor  # log of target / predicted

    def __init__(self, classes: int, given: Sequence[float] | None = None) -> None:
        super().__init__()
        self._given = given
        equal = torch.full((classes,), 1 / classes)
        for name in ("source", "target", "predicted"):
            self.register_buffer(name, equal.clone())
        self.register_buffer("weights", torch.ones(classes))
        self.register_buffer("alignment", torch.zeros(classes))

    @torch.no_grad()
    def begin(self, counts: Sequence[int]) -> None:
        """Set the shares of both domains to those of the source's training images, whose class counts are `counts`."""
        shares = torch.tensor(counts, dtype=torch.float64) / sum(counts)
        for buffer in (self.source, self.target, self.predicted):
            buffer.copy_(shares)
        self.weights.fill_(1)
        self.alignment.fill_(0)
        if self._given is not None:
            target = torch.tensor(self._given, dtype=torch.float64)
            self._set_target(target / target.sum())

    @torch.no_grad()
    def move(self, estimate: EstimatedShares) -> None:
        """Move the shares half of the way to an estimate, in double precision on the CPU: the same on every rank."""
        target, predicted = (buffer.double().cpu() for buffer in (self.target, self.predicted))
        if self._given is None:
            target = KEPT * target + (1 - KEPT) * torch.tensor(estimate.target, dtype=torch.float64)
            self._set_target(target)
        predicted = KEPT * predicted + (1 - KEPT) * torch.tensor(estimate.predicted, dtype=torch.float64)
        self.predicted.copy_(predicted)
        self.alignment.copy_((target / predicted.clamp_min(1e-12)).clamp(SMALLEST, LARGEST).log())

    def _set_target(self, target: Tensor) -> None:
        """Set the target's shares, float64 [classes] on the CPU, and the weights.

        A weight is target / source, in [SMALLEST, LARGEST], divided by the mean weight of the source's rows.
        """
        source = self.source.double().cpu()
        weights = (target / source.clamp_min(1e-12)).clamp(SMALLEST, LARGEST)
        self.target.copy_(target)
        self.weights.copy_(weights / (source * weights).sum())
