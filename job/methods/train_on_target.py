"""The upper bound: supervised learning on the target, whose labels no other method sees."""

from job.methods.base import Supervised
from job.vocabulary import TARGET


class TrainOnTarget(Supervised):
    """Class loss on the target."""

    reads = (TARGET,)
    labelled = TARGET
