"""Deep CORAL: Sun & Saenko 2016, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation"."""

import torch
from torch import Tensor

from job.config.objectives import CORALSettings
from job.config.terms import CORALTermSettings
from job.methods.batch import TrainingBatch
from job.methods.losses import Losses
from job.methods.one_term import OneTerm
from job.methods.ranks import gather_rows
from job.methods.term import Term
from job.methods.terms import in_full_precision
from job.models.classifier import Output
from job.vocabulary import SOURCE, TARGET


@in_full_precision
def coral_loss(source: Tensor, target: Tensor, source_weights: Tensor | None = None) -> Tensor:
    """Compute the squared distance of the covariances of [n, d] and [m, d] features, over 4 d^2 (eq. 1).

    With `source_weights` [n] the source's covariance is weighted.
    """
    return (torch.cov(source.T, aweights=source_weights) - torch.cov(target.T)).square().sum() / (
        4 * source.shape[1] ** 2
    )


class CORALTerm(Term):
    """CORAL loss of the features of both domains, over all ranks' rows."""

    couples_rows = True

    def forward(self, batch: TrainingBatch, output: Output, progress: Tensor) -> Losses:
        features = batch.split(output.features)
        source, target = gather_rows(features[SOURCE]), gather_rows(features[TARGET])
        distance = coral_loss(source, target, batch.gathered_source_weights)
        return Losses(distance, {"train/coral_loss": distance})


class CORAL(OneTerm):
    """Class loss on the source + `coral_weight` * CORAL loss."""

    settings: CORALSettings
    term_type = CORALTerm

    def term_settings(self) -> CORALTermSettings:
        return CORALTermSettings(weight=self.settings.coral_weight, rises=self.settings.rises)
