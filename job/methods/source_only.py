"""The lower bound: supervised learning on the source alone. The network sees no target image."""

from job.config.objectives import SourceOnlySettings
from job.methods.base import Supervised


class SourceOnly(Supervised):
    """Class loss on the source."""

    reads = SourceOnlySettings.reads
