"""Build the optimiser and its parameter groups."""

import torch
from torch import nn

from job.config.schema import Optimizer
from job.methods.adversary import Adversary
from job.methods.base import Method


def build_optimizer(method: Method, settings: Optimizer) -> torch.optim.Optimizer:
    """Build SGD with momentum or AdamW over the parameters that require a gradient.

    Pretrained layers have ``pretrained_lr_factor`` times the learning rate, domain classifiers ``domain_lr_factor``
    times; biases and normalisation layers have no weight decay. Each group stores its own rate in ``base_lr``, which
    the schedule multiplies.
    """
    network = method.network
    loaded = set(next(network.feature_extractor.children()).parameters()) if network.pretrained else set()
    adversaries = (module for module in method.modules() if isinstance(module, Adversary))
    domain = {parameter for adversary in adversaries for parameter in adversary.parameters()}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in method.parameters():
        if parameter.requires_grad:
            factor = settings.pretrained_lr_factor if parameter in loaded else 1.0
            factor = settings.domain_lr_factor if parameter in domain else factor
            groups.setdefault((factor, parameter.ndim > 1), []).append(parameter)
    parameter_groups = []
    for (factor, is_decayed), parameters in groups.items():
        lr = settings.lr * factor
        decay = settings.weight_decay if is_decayed else 0.0
        parameter_groups.append({"params": parameters, "lr": lr, "base_lr": lr, "weight_decay": decay})
    if settings.name == "sgd":
        return torch.optim.SGD(parameter_groups, settings.lr, momentum=settings.momentum, nesterov=settings.nesterov)
    return torch.optim.AdamW(parameter_groups, lr=settings.lr, betas=settings.betas)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
