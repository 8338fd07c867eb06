"""Heads on top of features, and the initialisation of layers without loaded weights."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn


def head(width: int, hidden: Sequence[int], outputs: int, dropout: float = 0.0) -> nn.Sequential:
    """Build fully connected layers with ReLU between them: [n, width] -> [n, outputs].

    There is no BatchNorm: in a domain classifier it would normalise away the difference between the domains.
    """
    layers: list[nn.Module] = [nn.Dropout(dropout)] if dropout else []
    for units in hidden:
        layers += [nn.Linear(width, units), nn.ReLU()]
        width = units
    return nn.Sequential(*layers, nn.Linear(width, outputs))


@torch.no_grad()
def initialise(module: nn.Module, scheme: str) -> None:
    """Draw new weights for linear and convolutional layers: `xavier` (Glorot uniform) or `kaiming` (He normal).

    `torch` keeps PyTorch's default, uniform with variance 1 / (3 fan_in): a sixth of He's. Biases become zero. Layers
    that are not trained, such as those of a copy of a network, keep their weights.
    """
    if scheme == "torch":
        return
    draw = nn.init.xavier_uniform_ if scheme == "xavier" else nn.init.kaiming_normal_
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight.requires_grad:
            draw(layer.weight)
            if layer.bias is not None:
                layer.bias.zero_()


def class_directions(head: nn.Module) -> np.ndarray | None:
    """Return the weights [outputs, width] of the last fully connected layer, a row for each class; None without one."""
    layers = [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
    return layers[-1].weight.detach().float().cpu().numpy() if layers else None
