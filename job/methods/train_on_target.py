"""The upper bound: supervised learning on the target, whose labels no other method sees."""

from job.config.objectives import TrainOnTargetSettings
from job.methods.base import Supervised


class TrainOnTarget(Supervised):
    """Class loss on the target."""

    reads = TrainOnTargetSettings.reads
    labelled = TrainOnTargetSettings.labelled
