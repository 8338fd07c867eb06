"""The prediction for every image of an evaluated split, for measures that are not sums over the split."""

from dataclasses import dataclass, field

import numpy as np
from accelerate.utils import gather_object
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Row i belongs to the i-th image of the split, in the order of the shards, on any number of ranks."""

    keys: list[str]
    labels: np.ndarray  # int64 [n]; -1: no label
    log_probabilities: np.ndarray  # float32 [n, C]

    @property
    def predicted(self) -> np.ndarray:
        """The predicted classes, int64 [n]."""
        return self.log_probabilities.argmax(1)


@dataclass
class RowCollector:
    """Collect this rank's rows. Each rank evaluates a range of the split, in the order of the ranks."""

    _keys: list[str] = field(default_factory=list)
    _labels: list[np.ndarray] = field(default_factory=list)
    _logs: list[np.ndarray] = field(default_factory=list)

    def add(self, keys: list[str], labels: Tensor, log_probabilities: Tensor) -> None:
        """Add a batch: labels int64 [n] on the CPU, log-probabilities [n, C] on any device."""
        self._keys += keys
        self._labels.append(labels.numpy().copy())
        self._logs.append(log_probabilities.float().cpu().numpy())

    def gather(self) -> Rows:
        """Return the rows of all ranks, the same on each of them. Collective: all ranks must call it."""
        own = [(self._keys, np.concatenate(self._labels), np.concatenate(self._logs))] if self._keys else []
        keys, labels, logs = zip(*gather_object(own))
        return Rows([key for part in keys for key in part], np.concatenate(labels), np.concatenate(logs))
