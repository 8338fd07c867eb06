"""One optimiser step of a method, through the Learner."""

from collections.abc import Iterable
from types import SimpleNamespace

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from job.methods.base import Method
from job.methods.batch import TrainingBatch
from job.training.learner import Learner
from tests.support.networks import tiny_config

LR, MOMENTUM, STEPS = 0.1, 0.9, 10


def learner_for(method: Method, accelerator: Accelerator | None = None, **sections) -> Learner:
    """A learner with plain SGD at LR, constant in time, whose batches are network input already."""
    sections = {"optimizer": {"lr": LR, "momentum": MOMENTUM, "schedule": "constant"}, **sections}
    config = tiny_config(method.settings.name, **sections)
    return Learner(config, accelerator or Accelerator(cpu=True), method, lambda batch: batch.images)


def loaded(batch: TrainingBatch, method: Method, step: int):
    """The batch as a loader gives it: labels of the labelled block, -1 elsewhere."""
    rows = len(batch.labels)
    labels = torch.cat([batch.labels if name == method.labelled else torch.full((rows,), -1) for name in method.reads])
    return SimpleNamespace(step=step, images=batch.images, labels=labels)


def one_step(method: Method, batch: TrainingBatch, step: int = 5, **sections) -> Learner:
    """Make update `step` of STEPS, at progress step / STEPS."""
    learner = learner_for(method, **sections)
    learner.update(loaded(batch, method, step), logs=True)
    return learner


def descend(loss: Tensor, parameters: Iterable[nn.Parameter]) -> None:
    """The update of plain SGD at LR, by plain autograd."""
    parameters = list(parameters)
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= LR * gradient


def descend_adversarially(method: Method, on_classes: Tensor, on_domains: Tensor, lambda_: float) -> None:
    """theta_f -= mu (dLy - lambda dLd), theta_y -= mu dLy, theta_d -= mu dLd, by plain autograd without a reversal."""
    network = method.network
    parts = (network.feature_extractor, network.label_predictor, method.adversary.domain_classifier)
    encoder, labeller, judge = (list(part.parameters()) for part in parts)
    d_class = torch.autograd.grad(on_classes, encoder + labeller, retain_graph=True)
    d_domain = torch.autograd.grad(on_domains, encoder + judge)
    k = len(encoder)
    with torch.no_grad():
        for parameter, on_class, on_domain in zip(encoder, d_class[:k], d_domain[:k], strict=True):
            parameter -= LR * (on_class - lambda_ * on_domain)
        for parameter, gradient in zip(labeller + judge, d_class[k:] + d_domain[k:], strict=True):
            parameter -= LR * gradient


def assert_same_parameters(method: Method, by_hand: Method, **tolerances) -> None:
    for name, parameter in method.named_parameters():
        torch.testing.assert_close(parameter, by_hand.get_parameter(name), msg=name, **tolerances)
