"""The lower bound: supervised learning on the source alone. No target image is seen, not even by BatchNorm."""

from job.methods.base import Supervised
from job.vocabulary import SOURCE


class SourceOnly(Supervised):
    """Class loss on the source."""

    reads = (SOURCE,)
