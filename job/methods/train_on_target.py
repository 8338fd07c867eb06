"""The upper bound: supervised learning on the target, with the labels that no other method sees."""

from torch import Tensor

from job.methods.base import Losses, Method, supervised
from job.methods.batch import TrainingBatch
from job.vocabulary import TARGET


class TrainOnTarget(Method):
    """Class loss on the target."""

    reads = (TARGET,)
    labelled = TARGET

    def forward(self, batch: TrainingBatch, progress: Tensor, phase: str = "all") -> Losses:
        return supervised(self, batch)
