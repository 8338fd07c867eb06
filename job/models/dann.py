"""The network of domain-adversarial training: Ganin et al. 2016, fig. 1."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from job.models.gradient_reversal import reverse_gradient


class Output(NamedTuple):
    """What one forward gives for a batch of n images."""

    features: Tensor  # [n, width], what both heads see
    class_logits: Tensor  # [n, classes]
    domain_logits: Tensor  # [n], positive: target


def head(width: int, hidden: Sequence[int], outputs: int, dropout: float = 0.0) -> nn.Sequential:
    """Fully connected layers with ReLU between them. No BatchNorm: it would normalise the domains apart or together."""
    layers: list[nn.Module] = [nn.Dropout(dropout)] if dropout else []
    for units in hidden:
        layers += [nn.Linear(width, units), nn.ReLU()]
        width = units
    return nn.Sequential(*layers, nn.Linear(width, outputs))


class DANN(nn.Module):
    """Feature extractor, label predictor and, behind a gradient reversal layer, a domain classifier.

    `feature_extractor` maps images to [n, width]; `label_predictor` maps that to [n, classes] and `domain_classifier`
    to [n, 1]. With `freeze_batch_norm` the statistics of BatchNorm layers stay as loaded, also in training mode.
    """

    def __init__(
        self,
        feature_extractor: nn.Module,
        label_predictor: nn.Module,
        domain_classifier: nn.Module,
        freeze_batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.feature_extractor = feature_extractor
        self.label_predictor = label_predictor
        self.domain_classifier = domain_classifier
        self.freeze_batch_norm = freeze_batch_norm
        self.reversed_gradient_hook: Callable[[Tensor], None] | None = None  # sees what the encoder is handed back

    def forward(self, images: Tensor, lambda_: Tensor | float = 0.0) -> Output:
        """One pass over source and target together, so that both share any batch statistics.

        `images` is [n, 3, height, width] (or whatever the feature extractor takes), `lambda_` the strength of the
        reversed gradient at this step.
        """
        features = self.feature_extractor(images)
        to_domain = features
        if self.reversed_gradient_hook is not None and features.requires_grad:
            to_domain = features.view_as(features)  # a node of its own: the class gradient does not pass through it
            to_domain.register_hook(self.reversed_gradient_hook)
        domain_logits = self.domain_classifier(reverse_gradient(to_domain, lambda_))
        return Output(features, self.label_predictor(features), domain_logits.squeeze(1))

    def train(self, mode: bool = True) -> "DANN":
        super().train(mode)
        if self.freeze_batch_norm:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self


@torch.no_grad()
def initialise(module: nn.Module, scheme: str) -> None:
    """Draw the weights of linear and convolutional layers anew: `xavier` (Glorot uniform) or `kaiming` (He normal).

    `torch` keeps PyTorch's default, uniform with variance 1 / (3 fan_in): a sixth of He's. Biases become zero.
    """
    if scheme == "torch":
        return
    draw = nn.init.xavier_uniform_ if scheme == "xavier" else nn.init.kaiming_normal_
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            draw(layer.weight)
            if layer.bias is not None:
                layer.bias.zero_()
