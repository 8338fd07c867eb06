"""The network that predicts: a feature extractor and a label predictor (Ganin et al. 2016, fig. 1, green and blue)."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from job.models.stages import frozen_modules


class Output(NamedTuple):
    """The output of a network or a method for n images."""

    features: Tensor  # [n, width], the input of all heads
    class_logits: Tensor  # [n, classes]
    domain_logits: Tensor | None = None  # [n], positive: target; None where the method has no domain classifier


class Classifier(nn.Module):
    """Feature extractor and label predictor.

    `feature_extractor` maps images to [n, width] features, `label_predictor` maps these to [n, classes] logits.
    `domain_hidden` are the hidden widths of a domain classifier on these features. With `freeze_batch_norm`
    the statistics of BatchNorm layers stay as loaded, also in training mode; those of layers that are not trained
    always do. `pretrained`: the first part of the feature extractor, the backbone, has loaded weights.
    """

    def __init__(
        self,
        feature_extractor: nn.Module,
        label_predictor: nn.Module,
        *,
        width: int,
        classes: int,
        domain_hidden: Sequence[int] = (),
        freeze_batch_norm: bool = False,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.feature_extractor = feature_extractor
        self.label_predictor = label_predictor
        self.width, self.classes, self.domain_hidden = width, classes, tuple(domain_hidden)
        self.freeze_batch_norm = freeze_batch_norm
        self.pretrained = pretrained

    def forward(self, images: Tensor) -> Output:
        """Classify [n, 3, height, width] images, or any input of the feature extractor.

        Pass the rows of all domains in one call, so that they share batch statistics.
        """
        features = self.feature_extractor(images)
        return Output(features, self.label_predictor(features))

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        for module in frozen_modules(self.feature_extractor):
            module.eval()
        if self.freeze_batch_norm:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self
