"""The upper bound: supervised learning on the target, with the labels that no other method sees."""

from job.methods.base import Supervised
from job.vocabulary import TARGET


class TrainOnTarget(Supervised):
    """Class loss on the target."""

    reads = (TARGET,)
    labelled = TARGET
