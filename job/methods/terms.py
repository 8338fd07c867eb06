"""Terms of the losses. Each is a mean over its rows, so it is the same for any number of ranks.

Losses are computed in the forward pass, which autocast covers; these functions turn autocast off and use float32.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor

P = ParamSpec("P")


def in_full_precision(term: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Decorate a term: it receives tensors as float32 or wider, and autocast does not lower its precision."""

    @functools.wraps(term)
    def computed(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        first = next(arg for arg in args if isinstance(arg, Tensor))
        with torch.autocast(first.device.type, enabled=False):
            return term(*map(_widen, args), **{name: _widen(value) for name, value in kwargs.items()})

    return computed


def _widen(value: Any) -> Any:
    is_half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if is_half else value


def rise(progress: Tensor, gamma: float) -> Tensor:
    """Return a factor that rises from 0 towards 1 with progress p: ``2 / (1 + exp(-gamma p)) - 1``.

    Ganin et al. 2016, sec. 5.2.2.
    """
    return 2 / (1 + torch.exp(-gamma * progress)) - 1


@in_full_precision
def class_loss(
    logits: Tensor,
    labels: Tensor,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    row_weights: Tensor | None = None,
) -> Tensor:
    """Compute the mean cross-entropy, 0-dim, of [n, classes] logits with int64 [n] labels.

    `class_weights` [classes] and `row_weights` [n] multiply the losses of the rows. The sum is divided by n and not by
    the sum of the weights, which differs between ranks.
    """
    losses = F.cross_entropy(logits, labels, weight=class_weights, label_smoothing=label_smoothing, reduction="none")
    return (losses if row_weights is None else losses * row_weights).mean()


@in_full_precision
def domain_loss(
    source_logits: Tensor,
    target_logits: Tensor,
    source_weights: Tensor | None = None,
    target_weights: Tensor | None = None,
) -> Tensor:
    """Compute the binary cross-entropy of domain logits: source mean + target mean (Ganin et al. 2016, eq. 10).

    It is 2 ln 2 when all predictions are 0.5. Weights [n] multiply the rows' losses.
    """
    on_source = F.binary_cross_entropy_with_logits(source_logits, torch.zeros_like(source_logits), source_weights)
    on_target = F.binary_cross_entropy_with_logits(target_logits, torch.ones_like(target_logits), target_weights)
    return on_source + on_target


def squared_distances(rows: Tensor, others: Tensor) -> Tensor:
    """Compute |x - y|^2 of every pair of [n, d] and [m, d] rows: float64 [n, m].

    float64 keeps |x|^2 + |y|^2 - 2 xy of close rows from being a difference of rounding errors, and GPUs do not round
    its factors to ten bits. There is no root, whose gradient at 0 is infinite.
    """
    x, y = rows.double(), others.double()
    return (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp(min=0)


def entropy(logits: Tensor) -> Tensor:
    """Compute the entropy in nats, [n], of the predictions of [n, classes] logits."""
    log_probabilities = logits.log_softmax(1)
    return -(log_probabilities.exp() * log_probabilities).sum(1)


@in_full_precision
def conditional_entropy(logits: Tensor) -> Tensor:
    """Compute the mean entropy, in nats, of the predictions of [n, classes] logits (Grandvalet & Bengio 2005)."""
    return entropy(logits).mean()


@in_full_precision
def pseudo_label_loss(logits: Tensor, second_view: Tensor, threshold: float) -> Tensor:
    """Compute the cross-entropy of the second view's [n, classes] logits with the first view's confident predictions.

    Predictions below `threshold` count as 0, and the sum is divided by n (Sohn et al. 2020, eq. 4). No label is used.
    """
    confidence, predicted = logits.detach().softmax(1).max(1)
    losses = F.cross_entropy(second_view, predicted, reduction="none")
    return (losses * (confidence >= threshold)).mean()
