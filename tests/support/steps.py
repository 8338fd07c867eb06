"""One optimiser step of a method, through the Learner."""

from types import SimpleNamespace

import torch
from accelerate import Accelerator

from job.methods.base import Method
from job.methods.batch import TrainingBatch
from job.training.learner import Learner
from tests.support.networks import tiny_config

LR, MOMENTUM, STEPS = 0.1, 0.9, 10


def learner_for(method: Method, **sections) -> Learner:
    """A learner with plain SGD at LR, constant in time, whose batches are network input already."""
    sections = {"optimizer": {"lr": LR, "momentum": MOMENTUM, "schedule": "constant"}, **sections}
    config = tiny_config(method.settings.name, **sections)
    return Learner(config, Accelerator(cpu=True), method, lambda batch: batch.images)


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
