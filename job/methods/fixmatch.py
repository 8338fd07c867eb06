"""FixMatch: Sohn et al. 2020, "FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence"."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from job.config.terms import FixMatchTermSettings
from job.methods.batch import STRONG_VIEW, TrainingBatch
from job.methods.class_status import ClassStatus
from job.methods.losses import Losses
from job.methods.one_term import OneTerm
from job.methods.term import Term
from job.methods.terms import in_full_precision
from job.models.classifier import Classifier, Output
from job.vocabulary import TARGET


@in_full_precision
def masked_cross_entropy(logits: Tensor, labels: Tensor, chosen: Tensor) -> Tensor:
    """Compute the cross-entropy of [n, classes] logits, summed over the `chosen` rows and divided by n (eq. 4)."""
    return (F.cross_entropy(logits, labels, reduction="none") * chosen).mean()


class FixMatchTerm(Term):
    """Cross-entropy of the target's strong view with the confident predictions on its ordinary view as labels.

    With `teacher_decay` a moving average of the network predicts these labels (Tarvainen & Valpola 2017).
    """

    strong_view = True
    settings: FixMatchTermSettings

    def __init__(self, network: Classifier, settings: FixMatchTermSettings) -> None:
        super().__init__(network, settings)
        self.status = ClassStatus(network.classes, settings)
        self._student = (network,)  # in a tuple, or it would become a submodule
        self.teacher = None if settings.teacher_decay is None else copy.deepcopy(network).requires_grad_(False)

    def begin(self) -> None:
        if self.teacher is not None:
            self.teacher.load_state_dict(self._student[0].state_dict())

    def forward(self, batch: TrainingBatch, output: Output, progress: Tensor) -> Losses:
        classes = batch.split(output.class_logits)
        logits = classes[TARGET] if self.teacher is None else self._taught(self.teacher, batch)
        labels, chosen = self.status.choose(logits, batch.labels, batch.source_weights)
        loss = masked_cross_entropy(classes[STRONG_VIEW], labels, chosen)
        return Losses(loss, {"train/pseudo_label_loss": loss, "train/pseudo_label_share": chosen.float().mean()})

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        self.status.update()
        decay, student = self.settings.teacher_decay, self._student[0]
        if self.teacher is None or decay is None:
            return
        for average, weight in zip(self.teacher.parameters(), student.parameters(), strict=True):
            average.lerp_(weight, 1 - decay)
        for copied, statistic in zip(self.teacher.buffers(), student.buffers(), strict=True):
            copied.copy_(statistic)

    @staticmethod
    @torch.no_grad()
    def _taught(teacher: nn.Module, batch: TrainingBatch) -> Tensor:
        teacher.eval()  # training mode is set for the whole method at once
        logits: Tensor = teacher(batch.split(batch.images)[TARGET]).class_logits
        return logits


class FixMatch(OneTerm):
    """Class loss on the source + `weight` * FixMatch on the target."""

    term_type = FixMatchTerm
