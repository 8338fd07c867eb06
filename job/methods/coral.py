"""Deep CORAL: Sun & Saenko 2016, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation"."""

import torch
from torch import Tensor

from job.config.objectives import CORALSettings
from job.methods.base import Losses, Method
from job.methods.batch import TrainingBatch
from job.methods.ranks import gather_rows
from job.methods.terms import in_full_precision, rise
from job.vocabulary import SOURCE, TARGET


@in_full_precision
def coral_loss(source: Tensor, target: Tensor) -> Tensor:
    """Compute the squared distance of the covariances of [n, d] and [m, d] features, over 4 d^2 (eq. 1)."""
    return (torch.cov(source.T) - torch.cov(target.T)).square().sum() / (4 * source.shape[1] ** 2)


class CORAL(Method):
    """Class loss on the source + `coral_weight` * CORAL loss of the features of both domains, over all ranks' rows."""

    couples_rows = True
    settings: CORALSettings

    def forward(self, batch: TrainingBatch, progress: Tensor, phase: str = "all") -> Losses:
        output = self.network(batch.images)
        classes, features = batch.split(output.class_logits), batch.split(output.features)
        on_classes = self.class_loss(classes[SOURCE], batch.labels)
        distance = coral_loss(gather_rows(features[SOURCE]), gather_rows(features[TARGET]))
        factor = rise(progress, gamma=10).float() if self.settings.rises else 1.0
        total = on_classes + self.settings.coral_weight * factor * distance
        terms = {"train/class_loss": on_classes, "train/coral_loss": distance}
        return Losses(total, terms, self.seen(batch.labels, classes))
