"""The terms that objectives are made of. Each is a mean over its rows, hence the same on any number of ranks."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from job.config.schema import Objective
from job.models.dann import Output


@dataclass(frozen=True)
class Loss:
    """What an objective gives for a batch: `total` is differentiated, the rest is logged. All are 0-dim."""

    total: Tensor
    class_loss: Tensor
    domain_loss: Tensor | None = None  # source mean + target mean, before any weight: 2 ln 2 when it cannot tell


def class_loss(logits: Tensor, labels: Tensor, settings: Objective, class_weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of [n, classes] logits; `class_weights` [classes] multiply the rows' losses.

    The sum is divided by n and not by the sum of the weights, which would differ from rank to rank.
    """
    losses = F.cross_entropy(
        logits, labels, weight=class_weights, label_smoothing=settings.label_smoothing, reduction="none"
    )
    return losses.mean()


def domain_loss(source_logits: Tensor, target_logits: Tensor) -> Tensor:
    """Binary cross-entropy, the mean over the source plus the mean over the target (Ganin et al. 2016, eq. 10)."""
    on_source = F.binary_cross_entropy_with_logits(source_logits, torch.zeros_like(source_logits))
    on_target = F.binary_cross_entropy_with_logits(target_logits, torch.ones_like(target_logits))
    return on_source + on_target


def conditional_entropy(logits: Tensor) -> Tensor:
    """Mean entropy, in nats, of the predictions of [n, classes] logits (Grandvalet & Bengio 2005)."""
    log_probabilities = logits.log_softmax(1)
    return -(log_probabilities.exp() * log_probabilities).sum(1).mean()


def pseudo_label_loss(logits: Tensor, second_view: Tensor, threshold: float) -> Tensor:
    """Cross-entropy of the second view's [n, classes] logits against the first view's confident predictions.

    Predictions below `threshold` count as 0, and the sum is divided by n (Sohn et al. 2020, eq. 4). No label is used.
    """
    confidence, predicted = logits.detach().softmax(1).max(1)
    losses = F.cross_entropy(second_view, predicted, reduction="none")
    return (losses * (confidence >= threshold)).mean()


def split(output: Output, blocks: int) -> list[Output]:
    """Cut a batch into `blocks` of equally many rows: source first, then target, then what an objective adds."""
    rows = output.features.shape[0] // blocks
    return [Output(*(part[i * rows : (i + 1) * rows] for part in output)) for i in range(blocks)]
