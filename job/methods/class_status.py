"""Choice of pseudo-labels: per-class thresholds, and alignment of the predicted classes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from job.config.terms import FixMatchTermSettings
from job.methods.running_mean import RunningMean


class ClassStatus(nn.Module):
    """Averages over past rows of all ranks, and the thresholds that follow from them.

    The learning status of a class is the share of the target's rows that are predicted as this class with a confidence
    of at least `threshold` (Zhang et al. 2021, "FlexMatch", eq. 5, as a moving average in place of a count over the
    data set).
    """

    def __init__(self, classes: int, settings: FixMatchTermSettings) -> None:
        super().__init__()
        self._settings = settings
        decay = settings.status_decay
        self.status = RunningMean(torch.zeros(classes), decay)
        self.predicted = RunningMean(torch.full((classes,), 1 / classes), decay) if settings.align else None
        self.labelled = RunningMean(torch.full((classes,), 1 / classes), decay) if settings.align else None

    def thresholds(self) -> Tensor:
        """Compute the lowest confidence of a pseudo-label of each class, [classes] (FlexMatch, eq. 7-9).

        The best learned class has `threshold`; others have lower ones, so that they get labels too. While most rows are
        not confident, all thresholds are low.
        """
        settings, status = self._settings, self.status.value
        if settings.thresholds == "fixed":
            return torch.full_like(status, settings.threshold)
        learned = status / torch.maximum(status.max(), 1 - status.sum())
        flexible = settings.threshold * learned / (2 - learned)
        return flexible.clamp(min=min(settings.lowest_threshold, settings.threshold))

    @torch.no_grad()
    def choose(
        self, logits: Tensor, source_labels: Tensor, source_weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return labels, int64 [n], for the target's [n, classes] logits, and which are confident, bool [n].

        With `source_weights` [n] the classes are aligned to those of the weighted source rows.
        """
        probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)
        classes = probabilities.shape[1]
        if self.predicted is not None and self.labelled is not None:
            self.predicted.add(probabilities)
            labelled = F.one_hot(source_labels, classes)
            self.labelled.add(labelled if source_weights is None else labelled * source_weights[:, None])
            ratio = self.labelled.value / self.predicted.value.clamp(min=1e-6)
            probabilities = probabilities * ratio / (probabilities * ratio).sum(1, keepdim=True)
        confidence, labels = probabilities.max(1)
        self.status.add(F.one_hot(labels, classes) * (confidence >= self._settings.threshold)[:, None])
        return labels, confidence >= self.thresholds()[labels]

    def update(self) -> None:
        """Move the averages towards the rows that were added in this step."""
        for average in (self.status, self.predicted, self.labelled):
            if average is not None:
                average.update()
