"""Domain-adversarial training: Ganin et al. 2016, eq. 9-10. The reversal itself is in the model."""

from torch import Tensor

from job.config import Objective
from job.data.records import SOURCE, TARGET
from job.models.dann import Output
from job.objectives.terms import Loss, class_loss, conditional_entropy, domain_loss, halves

DOMAINS = (SOURCE, TARGET)  # the order of the rows of a batch
LABELLED = SOURCE


def loss(output: Output, labels: Tensor, lambda_: Tensor, settings: Objective, class_weights: Tensor | None) -> Loss:
    """Class loss on the source + `domain_weight` * domain loss on both.

    Lambda is not a factor of the domain loss: it scales only what the reversal layer hands to the feature extractor,
    while the domain classifier learns at full strength. With `entropy_weight` the entropy of the target predictions is
    minimised too, at a strength that rises with lambda.
    """
    source, target = halves(output)
    on_classes = class_loss(source.class_logits, labels[: len(labels) // 2], settings, class_weights)
    on_domains = domain_loss(source.domain_logits, target.domain_logits)
    total = on_classes + settings.domain_weight * on_domains
    if settings.entropy_weight:
        total = total + settings.entropy_weight * lambda_ * conditional_entropy(target.class_logits)
    return Loss(total, on_classes, on_domains)
