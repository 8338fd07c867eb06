"""Sums over the predictions of a split. They stay on the device; all ranks add them up once at the end."""

from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

CONFIDENCE_BINS = 20  # from 0 to 1


class Totals(NamedTuple):
    """Sums over the samples of all ranks, C classes."""

    samples: int
    confusion: np.ndarray  # int64 [C, C], rows are true classes, of the labelled samples
    predicted: np.ndarray  # int64 [C]
    confidence: np.ndarray  # int64 [CONFIDENCE_BINS], samples by probability of the predicted class
    probability: np.ndarray  # float64 [C], summed predicted distributions
    entropy: float  # nats, summed over the predictions


class Tally:
    """Count predictions of `classes` classes, without a device synchronisation before `total`."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self._classes = classes
        self._pairs = torch.zeros(classes * classes, dtype=torch.int64, device=device)
        self._predicted = torch.zeros(classes, dtype=torch.int64, device=device)
        self._confidence = torch.zeros(CONFIDENCE_BINS, dtype=torch.int64, device=device)
        self._sums = torch.zeros(classes + 1, dtype=torch.float64, device=device)

    def add(self, log_probabilities: Tensor, labels: Tensor) -> None:
        """Add a batch: [n, classes] on the device, and labels int64 [n] on the CPU, -1 without a label."""
        probabilities = log_probabilities.exp()
        largest, predicted = log_probabilities.max(1)
        rows = (labels >= 0).nonzero().squeeze(1)  # on the CPU: needs no device synchronisation
        if len(rows):
            device = predicted.device
            pairs = labels[rows].to(device) * self._classes + predicted[rows.to(device)]
            self._pairs += torch.bincount(pairs, minlength=len(self._pairs))
        self._predicted += torch.bincount(predicted, minlength=self._classes)
        bins = (largest.exp() * CONFIDENCE_BINS).long().clamp(0, CONFIDENCE_BINS - 1)
        self._confidence += torch.bincount(bins, minlength=CONFIDENCE_BINS)
        self._sums[:-1] += probabilities.sum(0)
        self._sums[-1] -= (probabilities * log_probabilities).sum()

    def total(self, accelerator: Accelerator) -> Totals:
        """Return the sums over all ranks. Collective: all ranks must call it."""
        counts = accelerator.reduce(torch.cat([self._pairs, self._predicted, self._confidence]), "sum").cpu().numpy()
        sums = accelerator.reduce(self._sums, "sum").cpu().numpy()
        pairs, predicted, confidence = np.split(counts, [len(self._pairs), len(self._pairs) + self._classes])
        confusion = pairs.reshape(self._classes, self._classes)
        return Totals(int(predicted.sum()), confusion, predicted, confidence, sums[:-1], float(sums[-1]))
