"""The lower bound: supervised learning on the source alone. No target image is seen, not even by BatchNorm."""

from torch import Tensor

from job.config.schema import Objective
from job.methods.terms import Loss, class_loss
from job.models.dann import Output
from job.vocabulary import SOURCE

DOMAINS = (SOURCE,)
LABELLED = SOURCE


def views(settings: Objective) -> int:
    return 1


def loss(output: Output, labels: Tensor, lambda_: Tensor, settings: Objective, class_weights: Tensor | None) -> Loss:
    """Class loss on the source."""
    on_classes = class_loss(output.class_logits, labels, settings, class_weights)
    return Loss(on_classes, on_classes)
