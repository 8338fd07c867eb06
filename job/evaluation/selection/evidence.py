"""The results of an evaluation that a score may read. Label-free scores read no labels of the target."""

from typing import NamedTuple

import numpy as np

from job.evaluation.evaluate import DomainReport
from job.evaluation.samples import FEWEST


class Mixes(NamedTuple):
    """Predictions on k mixed images, each lambda x + (1 - lambda) x' of two target images of different classes."""

    dominant: np.ndarray  # int64 [k], the predicted class of x, which has the larger share
    predicted: np.ndarray  # int64 [k], the predicted class of the mix


class Evidence(NamedTuple):
    """An evaluation of both domains, C classes."""

    source: DomainReport
    target: DomainReport
    mixes: Mixes | None = None  # None: no images were mixed
    directions: np.ndarray | None = None  # float [C, width], weights of the last layer; None: no such layer

    @property
    def one_class(self) -> bool:
        """Whether all target images are predicted as one class."""
        return int(np.count_nonzero(self.target.predicted)) < 2

    @property
    def target_features(self) -> np.ndarray | None:
        """The target features float64 [n, width]; None with fewer than FEWEST samples or values that are not finite."""
        return None if self.target.sample is None else _usable(self.target.sample.features)

    @property
    def target_probabilities(self) -> np.ndarray | None:
        """The target predictions float64 [n, C]; None with fewer than FEWEST samples or values that are not finite."""
        return None if self.target.sample is None else _usable(np.exp(self.target.sample.log_probabilities))


def _usable(rows: np.ndarray) -> np.ndarray | None:
    return rows.astype(np.float64) if len(rows) >= FEWEST and np.isfinite(rows).all() else None
