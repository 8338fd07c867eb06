"""The lower bound: supervised learning on the source alone. The network sees no target image."""

from job.methods.base import Supervised
from job.vocabulary import SOURCE


class SourceOnly(Supervised):
    """Class loss on the source."""

    reads = (SOURCE,)
