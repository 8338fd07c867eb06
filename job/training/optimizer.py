"""Build the optimiser and its parameter groups."""

from typing import Any

import torch
from torch import nn

from job.config.schema import Optimizer
from job.methods.adversary import Adversary
from job.methods.base import Method
from job.models.classifier import Classifier
from job.models.stages import layers_of


def build_optimizer(method: Method, settings: Optimizer, device: torch.device | None = None) -> torch.optim.Optimizer:
    """Build SGD with momentum or AdamW over the parameters that require a gradient.

    A pretrained backbone has ``pretrained_lr_factor`` times the learning rate, domain classifiers ``domain_lr_factor``
    times; biases and normalisation layers have no weight decay. Each group stores its own rate in ``base_lr``, which
    the schedule multiplies. With `fused`, or by default if the weights will be on a GPU (`device`), one kernel updates
    all weights.
    """
    of_backbone = _backbone_factors(method.network, settings)
    adversaries = (module for module in method.modules() if isinstance(module, Adversary))
    domain = {parameter for adversary in adversaries for parameter in adversary.parameters()}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in method.parameters():
        if parameter.requires_grad:
            factor = settings.domain_lr_factor if parameter in domain else of_backbone.get(parameter, 1.0)
            groups.setdefault((factor, parameter.ndim > 1), []).append(parameter)
    parameter_groups = []
    for (factor, is_decayed), parameters in groups.items():
        lr = settings.lr * factor
        decay = settings.weight_decay if is_decayed else 0.0
        parameter_groups.append({"params": parameters, "lr": lr, "base_lr": lr, "weight_decay": decay})
    on_gpu = device is not None and device.type == "cuda"
    fused = True if (on_gpu if settings.fused is None else settings.fused) else None  # None: torch decides, as before
    if settings.name == "sgd":
        momentum, nesterov = settings.momentum, settings.nesterov
        return torch.optim.SGD(parameter_groups, settings.lr, momentum=momentum, nesterov=nesterov, fused=fused)
    return torch.optim.AdamW(parameter_groups, lr=settings.lr, betas=settings.betas, fused=fused)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the state of an optimiser that another device may have written: how weights are updated stays as it is."""
    own = optimizer.param_groups
    kept = [{key: group[key] for key in ("fused", "foreach") if key in group} for group in own]
    groups = [{**theirs, **ours} for theirs, ours in zip(state["param_groups"], kept, strict=True)]
    optimizer.load_state_dict({**state, "param_groups": groups})


def _backbone_factors(network: Classifier, settings: Optimizer) -> dict[nn.Parameter, float]:
    """Return the factor on the learning rate of the backbone's parameters.

    With ``layer_decay`` d it is d^k for layer k from the top, counted from 1 (Bao et al. 2022, "BEiT").
    """
    decay = settings.layer_decay
    if decay is None and not network.pretrained:
        return {}
    backbone: nn.Module = next(network.feature_extractor.children())
    if decay is None:
        return dict.fromkeys(backbone.parameters(), settings.pretrained_lr_factor)
    layers = layers_of(backbone)
    return {
        backbone.get_parameter(name): decay ** (len(layers) - index)
        for index, layer in enumerate(layers)
        for name in layer
    }


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
