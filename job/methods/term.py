"""A term: a loss that any method on both domains can add to its own."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from job.config.terms import TermSettings
from job.methods.batch import TrainingBatch
from job.methods.losses import Losses
from job.methods.terms import rise
from job.models.classifier import Classifier, Output


class Term(nn.Module):
    """A loss of features and class logits, listed in `objective.also` of a configuration.

    A subclass defines `forward`. Parameters and buffers that it adds are trained and saved with the method.
    """

    couples_rows: ClassVar[bool] = False  # the loss is not a mean over rows: it gathers the rows of all ranks
    equal_buffers: ClassVar[bool] = True  # all ranks compute the same values of the buffers that the term adds
    views: int = 1  # augmented views of each target image that the term needs
    strong_view: bool = False  # whether it needs a strongly augmented view of each target image

    def __init__(self, network: Classifier, settings: TermSettings) -> None:
        super().__init__()
        self.seed = torch.initial_seed()  # the run's: `build_method` has seeded torch with it
        self.settings = settings

    def forward(self, batch: TrainingBatch, output: Output, progress: Tensor) -> Losses:
        """Compute the loss without its weight. `output` has a row for each image of the batch.

        `progress` is a 0-dim float64 in [0, 1).
        """
        raise NotImplementedError

    def begin(self) -> None:
        """Prepare whatever depends on the network's initial weights, once they are set."""

    def after_step(self, progress: float) -> None:
        """Run after an update, for instance to move an average."""

    def factor(self, progress: Tensor) -> Tensor | float:
        """Return the weight of the loss: constant, or rising from 0 like lambda with gamma 10."""
        settings = self.settings
        return settings.weight * rise(progress, gamma=10).float() if settings.rises else settings.weight
