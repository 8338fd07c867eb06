"""DeepJDOT: Damodaran et al. 2018, "Deep Joint Distribution Optimal Transport for Unsupervised Domain Adaptation"."""

from typing import Any

import torch
from torch import Tensor

from job.config.terms import DeepJDOTTermSettings
from job.methods.batch import TrainingBatch
from job.methods.losses import Losses
from job.methods.one_term import OneTerm
from job.methods.ranks import from_first_rank, gather_rows
from job.methods.term import Term
from job.methods.terms import in_full_precision, squared_distances
from job.models.classifier import Output
from job.vocabulary import SOURCE, TARGET

ITERATIONS = 10_000_000  # 2,048 rows need more than the 100,000 that POT makes by default


@torch.no_grad()
def transport_plan(cost: Tensor, source_weights: Tensor | None = None) -> Tensor:
    """Compute the exact plan [n, m] of the lowest total cost [n, m]; its rows sum to 1/n and its columns to 1/m.

    With `source_weights` [n] the sums of the rows are proportional to the weights.

    Every rank computes the plan from the same rows. The first rank's plan is used, because processors round
    differently. A cost that is not finite is replaced by a number here; the loss stays not finite, and training reports
    it.
    """
    import ot  # here, because it takes half a second that no other method needs

    finite = torch.nan_to_num(cost.double()).cpu().numpy()
    rows: Any = []  # all rows weigh the same
    if source_weights is not None:
        rows = (source_weights.double() / source_weights.double().sum()).cpu().numpy()
    plan = ot.emd(rows, [], finite, numItermax=ITERATIONS)
    return from_first_rank(torch.from_numpy(plan).to(cost))


@in_full_precision
def transport_cost(
    source: Tensor,
    target: Tensor,
    labels: Tensor,
    logits: Tensor,
    distance_weight: float,
    label_weight: float,
    source_weights: Tensor | None = None,
) -> Tensor:
    """Compute the cost, 0-dim, of moving the source's rows to the target's by the plan of the lowest cost (sec. 3.2).

    A pair of [n, d] source features with `labels` [n] and [m, d] target features with `logits` [m, classes] costs
    distance_weight |x - y|^2 + label_weight * cross-entropy. No gradient passes through the plan.
    """
    distances = squared_distances(source, target).to(source.dtype)
    cost = distance_weight * distances - label_weight * logits.log_softmax(1).T[labels]
    return (transport_plan(cost.detach(), source_weights) * cost).sum()


class DeepJDOTTerm(Term):
    """Transport cost from the source to the target, over all ranks' rows."""

    couples_rows = True
    settings: DeepJDOTTermSettings

    def forward(self, batch: TrainingBatch, output: Output, progress: Tensor) -> Losses:
        features = batch.split(output.features)
        cost = transport_cost(
            gather_rows(features[SOURCE]),
            gather_rows(features[TARGET]),
            gather_rows(batch.labels),
            gather_rows(batch.split(output.class_logits)[TARGET]),
            self.settings.distance_weight,
            self.settings.label_weight,
            batch.gathered_source_weights,
        )
        return Losses(cost, {"train/transport_cost": cost})


class DeepJDOT(OneTerm):
    """Class loss on the source + `weight` * transport cost."""

    term_type = DeepJDOTTerm
