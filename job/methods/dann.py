"""Domain-adversarial training: Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks", eq. 9-10."""

from torch import Tensor

from job.config.method_settings import AdversarialSettings
from job.methods.adversary import Adversary
from job.methods.base import Losses, Method
from job.methods.batch import SECOND_VIEW, TrainingBatch
from job.methods.terms import conditional_entropy, domain_loss, pseudo_label_loss
from job.models.classifier import Classifier, Output
from job.vocabulary import SOURCE, TARGET


class DANN(Method):
    """Class loss on the source + `domain_weight` * domain loss on both domains.

    Lambda is not a factor of the domain loss: it scales only the gradient that the reversal layer passes to the feature
    extractor, while the domain classifier learns at full strength. The optional terms on the target are not part of the
    paper; they rise from 0 to their full weight as lambda rises to lambda_max.
    """

    settings: AdversarialSettings
    adversary: Adversary

    def __init__(self, network: Classifier, settings: AdversarialSettings, width: int | None = None) -> None:
        """Add a domain classifier on inputs of `width`, by default the width of the features."""
        super().__init__(network, settings)
        self.views = 2 if settings.pseudo_label_weight else 1
        self.adversary = Adversary(width or network.width, network.domain_hidden, settings)

    def losses(self, batch: TrainingBatch, output: Output, progress: Tensor, phase: str) -> Losses:
        settings = self.settings
        lambda_ = self.adversary.lambda_at(progress)
        classes = batch.split(output.class_logits)
        inputs = self.domain_input(output)
        domains = batch.split(self.adversary(inputs, lambda_))
        on_classes = self.class_loss(classes[SOURCE], batch.labels)
        on_domains = domain_loss(domains[SOURCE], domains[TARGET], *self.domain_weights(batch, classes))
        total = on_classes + settings.domain_weight * on_domains
        rise = self.adversary.rise(lambda_)
        terms = {"train/class_loss": on_classes, "train/domain_loss": on_domains}
        if settings.entropy_weight:
            total = total + settings.entropy_weight * rise * conditional_entropy(classes[TARGET])
        if settings.pseudo_label_weight:
            agreement = pseudo_label_loss(
                self.align(classes[TARGET]), classes[SECOND_VIEW], settings.pseudo_label_threshold
            )
            total = total + settings.pseudo_label_weight * rise * agreement
        losses = Losses(total, terms, self.seen(batch.labels, classes, domains))
        return self.adversary.smooth(losses, batch, inputs)

    def domain_weights(self, batch: TrainingBatch, classes: dict[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """Return the weights [n] of source and target rows in the domain loss; None: all rows weigh the same."""
        return batch.source_weights, None
