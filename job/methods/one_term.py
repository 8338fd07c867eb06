"""Methods whose loss is the class loss on the source plus one term on both domains."""

from typing import Any, ClassVar, cast

from torch import Tensor

from job.config.method_settings import MethodSettings
from job.config.terms import TermSettings
from job.methods.base import Method
from job.methods.batch import TrainingBatch
from job.methods.losses import Losses
from job.methods.term import Term
from job.models.classifier import Classifier, Output
from job.vocabulary import SOURCE


class OneTerm(Method):
    """Class loss on the source + factor * term. `Method.forward` adds the term, like those of `objective.also`."""

    term_type: ClassVar[type[Term]]

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.couples_rows = cls.term_type.couples_rows

    def __init__(self, network: Classifier, settings: MethodSettings) -> None:
        super().__init__(network, settings)
        self.term = self.term_type(network, self.term_settings())
        self.views = self.term.views
        self.strong_view = self.term.strong_view

    def term_settings(self) -> TermSettings:
        """Return the settings of the term: the method's own, which have the same keys."""
        return cast(TermSettings, self.settings)

    def losses(self, batch: TrainingBatch, output: Output, progress: Tensor, phase: str) -> Losses:
        classes = batch.split(output.class_logits)
        on_classes = self.class_loss(classes[SOURCE], batch.labels)
        return Losses(on_classes, {"train/class_loss": on_classes}, self.seen(batch.labels, classes))
