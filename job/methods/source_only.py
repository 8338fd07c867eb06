"""The lower bound: supervised learning on the source alone. No target image is seen, not even by BatchNorm."""

from torch import Tensor

from job.methods.base import Losses, Method, supervised
from job.methods.batch import TrainingBatch
from job.vocabulary import SOURCE


class SourceOnly(Method):
    """Class loss on the source."""

    reads = (SOURCE,)

    def forward(self, batch: TrainingBatch, progress: Tensor, phase: str = "all") -> Losses:
        return supervised(self, batch)
