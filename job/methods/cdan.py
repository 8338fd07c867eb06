"""Conditional adversarial domain adaptation: Long et al. 2018, "Conditional Adversarial Domain Adaptation"."""

import torch
from torch import Tensor

from job.config.objectives import CDANSettings
from job.methods.batch import TrainingBatch
from job.methods.dann import DANN
from job.methods.ranks import mean_over_ranks
from job.methods.terms import entropy
from job.models.classifier import Classifier, Output
from job.vocabulary import SOURCE, TARGET


class CDAN(DANN):
    """DANN whose domain classifier sees the outer product of features and predictions (eq. 4-5).

    With `entropy_conditioning` a row weighs 1 + exp(-entropy of its prediction), scaled so that the weights of a
    domain's rows have a mean of 1 over all ranks (eq. 8). No gradient passes through predictions and weights here.
    """

    settings: CDANSettings
    of_features: Tensor  # [width, randomized]
    of_classes: Tensor  # [classes, randomized]

    def __init__(self, network: Classifier, settings: CDANSettings) -> None:
        if settings.randomized is None:
            super().__init__(network, settings, network.width * network.classes)
            return
        projections = [torch.randn(rows, settings.randomized) for rows in (network.width, network.classes)]
        super().__init__(network, settings, settings.randomized)
        for name, projection in zip(("of_features", "of_classes"), projections):  # eq. 6
            self.register_buffer(name, projection)

    def domain_input(self, output: Output) -> Tensor:
        features, predictions = output.features, output.class_logits.detach().softmax(1)
        if self.settings.randomized is not None:
            projected = (features @ self.of_features) * (predictions @ self.of_classes)
            scale: float = self.settings.randomized**0.5
            return projected / scale
        return torch.einsum("nc,nf->ncf", predictions, features).flatten(1)

    def domain_weights(self, batch: TrainingBatch, classes: dict[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
        source, target = (self._certainty(classes[domain]) for domain in (SOURCE, TARGET))
        return product(source, batch.source_weights), target

    @torch.no_grad()
    def _certainty(self, logits: Tensor) -> Tensor | None:
        """Compute the weights [n] of a block's rows from its [n, classes] logits; None: all rows weigh the same."""
        if not self.settings.entropy_conditioning:
            return None
        weights = 1 + torch.exp(-entropy(logits.float()))
        return weights / mean_over_ranks(weights.mean())


def product(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Multiply two weights [n] of rows, where None means 1 for every row."""
    if one is None or other is None:
        return other if one is None else one
    return one * other
