"""Maximum classifier discrepancy for unsupervised domain adaptation: Saito et al. 2018, CVPR."""

import copy
from collections.abc import Iterable

from torch import Tensor, nn

from job.config.objectives import MCDSettings
from job.methods.base import Losses, Method
from job.methods.batch import TrainingBatch
from job.methods.terms import in_full_precision
from job.models.classifier import Classifier, Output
from job.vocabulary import SOURCE, TARGET

LEARN, DISAGREE, AGREE = "learn", "disagree", "agree"  # steps A, B and C of sec. 3.3


@in_full_precision
def discrepancy(one: Tensor, other: Tensor) -> Tensor:
    """Compute the mean absolute difference of the predictions of two [n, classes] logits (eq. 9)."""
    return (one.softmax(1) - other.softmax(1)).abs().mean()


class MCD(Method):
    """Two label predictors that disagree on the target as much as they can, and features that make them agree.

    A: all learn the source. B: the predictors learn the source and disagree on the target. C, `feature_updates` times:
    the features make them agree. The prediction is the mean of both logits.
    """

    settings: MCDSettings

    def __init__(self, network: Classifier, settings: MCDSettings) -> None:
        super().__init__(network, settings)
        self.phases = (LEARN, DISAGREE, *[AGREE] * settings.feature_updates)
        self.second_predictor = copy.deepcopy(network.label_predictor)
        for layer in self.second_predictor.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()  # otherwise both would always agree

    def trained(self, phase: str) -> Iterable[nn.Parameter]:
        features, predictors = self.network.feature_extractor, (self.network.label_predictor, self.second_predictor)
        parts = {LEARN: (features, *predictors), DISAGREE: predictors, AGREE: (features,)}[phase]
        return (parameter for part in parts for parameter in part.parameters())

    def losses(self, batch: TrainingBatch, output: Output, progress: Tensor, phase: str) -> Losses:
        first, second = batch.split(output.class_logits), batch.split(self.second_predictor(output.features))
        on_classes = self.class_loss(first[SOURCE], batch.labels) + self.class_loss(second[SOURCE], batch.labels)
        apart = discrepancy(first[TARGET], second[TARGET])
        if phase == LEARN:
            # the class loss of both predictors gives every parameter the gradient that DDP waits for
            return Losses(on_classes, {"train/class_loss": on_classes / 2}, self.seen(batch.labels, first))
        if phase == DISAGREE:
            total = on_classes - self.settings.discrepancy_weight * apart
            return Losses(total, {"train/discrepancy": apart})
        return Losses(self.settings.discrepancy_weight * apart, {})

    def predict(self, images: Tensor) -> Output:
        output: Output = self.network(images)
        return output._replace(class_logits=(output.class_logits + self.second_predictor(output.features)) / 2)
