"""Conditional adversarial domain adaptation: Long et al. 2018, "Conditional Adversarial Domain Adaptation"."""

import torch
from torch import Tensor

from job.config.objectives import CDANSettings
from job.methods.adversary import Adversary
from job.methods.base import Losses, Method
from job.methods.batch import TrainingBatch
from job.methods.ranks import mean_over_ranks
from job.methods.terms import domain_loss, entropy
from job.models.classifier import Classifier, Output
from job.vocabulary import SOURCE, TARGET


class CDAN(Method):
    """DANN whose domain classifier sees the outer product of features and predictions (eq. 4-5).

    With `entropy_conditioning` a row weighs 1 + exp(-entropy of its prediction), scaled so that the weights of a
    domain's rows have a mean of 1 over all ranks (eq. 8). No gradient passes through predictions and weights here.
    """

    settings: CDANSettings
    adversary: Adversary
    of_features: Tensor  # [width, randomized]
    of_classes: Tensor  # [classes, randomized]

    def __init__(self, network: Classifier, settings: CDANSettings) -> None:
        super().__init__(network, settings)
        width = network.width * network.classes
        if settings.randomized is not None:  # eq. 6: the product of two random projections
            width = settings.randomized
            self.register_buffer("of_features", torch.randn(network.width, width))
            self.register_buffer("of_classes", torch.randn(network.classes, width))
        self.adversary = Adversary(width, network.domain_hidden, settings)

    def domain_input(self, output: Output) -> Tensor:
        features, predictions = output.features, output.class_logits.detach().softmax(1)
        if self.settings.randomized is not None:
            projected = (features @ self.of_features) * (predictions @ self.of_classes)
            scale: float = self.settings.randomized**0.5
            return projected / scale
        return torch.einsum("nc,nf->ncf", predictions, features).flatten(1)

    def losses(self, batch: TrainingBatch, output: Output, progress: Tensor, phase: str) -> Losses:
        classes = batch.split(output.class_logits)
        inputs = self.domain_input(output)
        domains = batch.split(self.adversary(inputs, self.adversary.lambda_at(progress)))
        on_classes = self.class_loss(classes[SOURCE], batch.labels)
        weights = {domain: self._weights(classes[domain]) for domain in (SOURCE, TARGET)}
        weights[SOURCE] = product(weights[SOURCE], batch.source_weights)
        on_domains = domain_loss(domains[SOURCE], domains[TARGET], weights[SOURCE], weights[TARGET])
        total = on_classes + self.settings.domain_weight * on_domains
        terms = {"train/class_loss": on_classes, "train/domain_loss": on_domains}
        losses = Losses(total, terms, self.seen(batch.labels, classes, domains))
        return self.adversary.smooth(losses, batch, inputs)

    @torch.no_grad()
    def _weights(self, logits: Tensor) -> Tensor | None:
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
