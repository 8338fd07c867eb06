"""Adaptive feature norm: Xu et al. 2019, "Larger Norm More Transferable: An Adaptive Feature Norm Approach"."""

import torch
from torch import Tensor

from job.config.terms import AFNTermSettings
from job.methods.batch import TrainingBatch
from job.methods.losses import Losses
from job.methods.one_term import OneTerm
from job.methods.term import Term
from job.methods.terms import in_full_precision
from job.models.classifier import Output
from job.vocabulary import SOURCE, TARGET

SHORTEST = 1e-6  # norms below it are no unit


@in_full_precision
def norms(features: Tensor) -> Tensor:
    """Compute the lengths [n] of [n, d] features; the gradient of a length of 0 is 0."""
    lengths: Tensor = torch.linalg.vector_norm(features, dim=1)
    return lengths


def growth_loss(norms: Tensor, step: float | None) -> Tensor:
    """Compute the mean of (r + step - norm)^2 with r the norm itself, a constant (SAFN, sec. 3.4).

    Its value is always step^2; its gradient pushes each norm outwards with the same force, 2 step. Without a step, the
    lengths are measured in units of r and the step is 1 of them: the force is 2 / r, the same relative growth for
    features of any scale, and it ends where the class loss, whose force does not fall with r, balances it.
    """
    if step is None:
        return (2 - norms / norms.detach().clamp_min(SHORTEST)).square().mean()
    return (norms.detach() + step - norms).square().mean()


class AFNTerm(Term):
    """Growth of the feature norms of both domains."""

    settings: AFNTermSettings

    def forward(self, batch: TrainingBatch, output: Output, progress: Tensor) -> Losses:
        features = batch.split(output.features)
        source, target = norms(features[SOURCE]), norms(features[TARGET])
        loss = growth_loss(torch.cat([source, target]), self.settings.step)
        return Losses(loss, {"domain/source_feature_norm": source.mean(), "domain/target_feature_norm": target.mean()})


class AFN(OneTerm):
    """Class loss on the source + `weight` * growth of the feature norms."""

    term_type = AFNTerm
