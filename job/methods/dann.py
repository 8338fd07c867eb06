"""Domain-adversarial training: Ganin et al. 2016, eq. 9-10. The reversal itself is in the model."""

from torch import Tensor

from job.config.schema import Objective
from job.methods.terms import Loss, class_loss, conditional_entropy, domain_loss, pseudo_label_loss, split
from job.models.dann import Output
from job.vocabulary import SOURCE, TARGET

DOMAINS = (SOURCE, TARGET)  # the order of the rows of a batch
LABELLED = SOURCE


def views(settings: Objective) -> int:
    """How many augmented views of a target image a batch holds; the second ones follow after all other rows."""
    return 2 if settings.pseudo_label_weight else 1


def loss(output: Output, labels: Tensor, lambda_: Tensor, settings: Objective, class_weights: Tensor | None) -> Loss:
    """Class loss on the source + `domain_weight` * domain loss on both; optionally more terms on the target.

    Lambda is not a factor of the domain loss: it scales only what the reversal layer hands to the feature extractor,
    while the domain classifier learns at full strength. The optional terms are not the paper's; they rise from 0 to
    their full weight as lambda rises to lambda_max.
    """
    source, target, *second_view = split(output, 1 + views(settings))
    on_classes = class_loss(source.class_logits, labels[: len(source.features)], settings, class_weights)
    on_domains = domain_loss(source.domain_logits, target.domain_logits)
    total = on_classes + settings.domain_weight * on_domains
    rise = lambda_ / settings.lambda_max if settings.lambda_max else 1.0
    if settings.entropy_weight:
        total = total + settings.entropy_weight * rise * conditional_entropy(target.class_logits)
    if settings.pseudo_label_weight:
        agreement = pseudo_label_loss(target.class_logits, second_view[0].class_logits, settings.pseudo_label_threshold)
        total = total + settings.pseudo_label_weight * rise * agreement
    return Loss(total, on_classes, on_domains)
