"""The adversary: a domain classifier behind a gradient reversal layer, its schedule and its metrics."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from job.config.method_settings import AdversarialSettings
from job.methods.batch import TrainingBatch
from job.methods.losses import Losses
from job.methods.terms import in_full_precision, rise
from job.models.gradient_reversal import reverse_gradient
from job.models.heads import head
from job.vocabulary import SOURCE, TARGET


class Adversary(nn.Module):
    """A domain classifier that learns at full strength, while the encoder receives ``-lambda`` times its gradient.

    Ganin et al. 2016, sec. 4.2. It has no BatchNorm. `width` is the width of its input, `hidden` are the widths of its
    hidden layers.
    """

    def __init__(self, width: int, hidden: Sequence[int], settings: AdversarialSettings) -> None:
        super().__init__()
        self.domain_classifier = head(width, hidden, 1)
        self._settings = settings
        self._squared_gradient: Tensor | None = None

    def forward(self, features: Tensor, lambda_: Tensor | float = 0.0) -> Tensor:
        """Classify the domain of [n, width] features: [n] logits, positive for the target."""
        if self._squared_gradient is not None and features.requires_grad:
            features = features.view_as(features)  # a separate node: the hook sees no other gradients
            features.register_hook(self._add_gradient)
        logits: Tensor = self.domain_classifier(reverse_gradient(features, lambda_))
        return logits.squeeze(1)

    def smooth(self, losses: Losses, batch: TrainingBatch, features: Tensor) -> Losses:
        """Add the gradient penalty, if one is configured. `features` are the classifier's input for all images."""
        weight = self._settings.gradient_penalty
        if not weight:
            return losses
        blocks = batch.split(features.detach())
        penalty = gradient_penalty(torch.cat([blocks[SOURCE], blocks[TARGET]]), self.domain_classifier)
        terms = losses.terms | {"train/gradient_penalty": penalty}
        return Losses(losses.total + weight * penalty, terms, losses.seen)

    def strength(self, progress: float) -> float:
        """Return lambda at `progress` in [0, 1]: ``lambda_max * (2 / (1 + exp(-gamma p)) - 1)``, or constant."""
        settings = self._settings
        if settings.lambda_schedule == "constant":
            return settings.lambda_max
        return settings.lambda_max * (2 / (1 + math.exp(-settings.gamma * progress)) - 1)

    def lambda_at(self, progress: Tensor) -> Tensor:
        """Return lambda as a 0-dim float32 tensor on the device of `progress`."""
        settings = self._settings
        if settings.lambda_schedule == "constant":
            return torch.full_like(progress, settings.lambda_max, dtype=torch.float32)
        return (settings.lambda_max * rise(progress, settings.gamma)).float()

    def rise(self, lambda_: Tensor) -> Tensor | float:
        """Return lambda / lambda_max, which rises from 0 to 1: a factor for further terms on the target."""
        return lambda_ / self._settings.lambda_max if self._settings.lambda_max else 1.0

    def watch_gradient(self) -> None:
        """Start to sum, over the next backward passes, the squared gradient that the encoder receives."""
        self._squared_gradient = torch.zeros((), device=next(self.parameters()).device)

    def squared_gradient(self) -> Tensor | None:
        """Return the sum since `watch_gradient`, 0-dim, and stop; None without `watch_gradient`."""
        watched, self._squared_gradient = self._squared_gradient, None
        return watched

    def _add_gradient(self, gradient: Tensor) -> None:
        if self._squared_gradient is not None:
            self._squared_gradient += gradient.detach().float().square().sum()

    @staticmethod
    def measure(logits: Tensor) -> dict[str, Tensor]:
        """Compute accuracy and confusion, [k] each, from [k, 2n] logits of k batches, source rows first.

        Confusion is the mean binary entropy of the predictions over ln 2: 1 if all predictions are 0.5.
        """
        says_target, rows = logits > 0, logits.shape[1] // 2
        right = torch.cat([~says_target[:, :rows], says_target[:, rows:]], 1)
        p = logits.sigmoid()
        entropy = torch.nn.functional.softplus(logits) - p * logits
        return {"domain/accuracy": right.float().mean(1), "domain/confusion": entropy.mean(1) / math.log(2)}


@in_full_precision
def gradient_penalty(features: Tensor, classifier: nn.Module) -> Tensor:
    """Compute the mean over rows of ``|d logit / d x|^2 mean(x^2)`` of a classifier at [n, width] features x.

    It penalises the squared gradient at the rows of both domains (Roth et al. 2017, "Stabilizing Training of Generative
    Adversarial Networks through Regularization"; R1 and R2 of Mescheder et al. 2018, eq. 9). The factor mean(x^2), over
    the width, makes it independent of the scale and width of the features: to first order it is the variance of the
    logit when noise of the size of the features is added to them. No gradient reaches the features.
    """
    features = features.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(classifier(features).sum(), features, create_graph=True)
    return (gradient.square().sum(1) * features.detach().square().mean(1)).mean()
