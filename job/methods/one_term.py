"""Methods whose loss is the class loss on the source plus one term on both domains."""

from torch import Tensor

from job.config.objectives import MethodSettings
from job.methods.base import Method
from job.methods.batch import TrainingBatch
from job.methods.losses import Losses
from job.methods.term import Term
from job.models.classifier import Classifier, Output
from job.vocabulary import SOURCE


class OneTerm(Method):
    """Class loss on the source + factor * term. `Method.forward` adds the term, like those of `objective.also`."""

    def __init__(self, network: Classifier, settings: MethodSettings, term: Term) -> None:
        super().__init__(network, settings)
        self.term = term
        self.views = term.views
        self.strong_view = term.strong_view

    def losses(self, batch: TrainingBatch, output: Output, progress: Tensor, phase: str) -> Losses:
        classes = batch.split(output.class_logits)
        on_classes = self.class_loss(classes[SOURCE], batch.labels)
        return Losses(on_classes, {"train/class_loss": on_classes}, self.seen(batch.labels, classes))
