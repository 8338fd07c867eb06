"""Tiny networks and batches in double precision, for tests of methods."""

import torch
from torch import nn

from job.config.load import build_config
from job.config.objectives import SETTINGS
from job.methods import METHODS, add_terms
from job.methods.base import Method
from job.methods.batch import SECOND_VIEW, STRONG_VIEW, TrainingBatch
from job.models.classifier import Classifier
from job.models.heads import head

INPUTS, WIDTH, CLASSES = 4, 5, 3


def tiny_network(inputs=INPUTS, width=WIDTH, classes=CLASSES, hidden=(6,), layers=None) -> Classifier:
    extractor = layers or nn.Sequential(nn.Linear(inputs, width), nn.Tanh())
    return Classifier(extractor, head(width, (), classes), width=width, classes=classes, domain_hidden=hidden)


def tiny_method(name: str, seed: int = 3, network=None, **settings) -> Method:
    """A method on a tiny network, in double precision; equal for equal arguments."""
    torch.manual_seed(seed)
    network = network or tiny_network(layers=with_batch_norm() if name == "adabn" else None)
    method = METHODS[name](network, SETTINGS[name](**settings))
    add_terms(method)
    return method.double()


def with_batch_norm(inputs=INPUTS, width=WIDTH) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.Tanh())


def tiny_batch(method: Method, rows: int = 8, seed: int = 4) -> TrainingBatch:
    """A batch of the blocks that a method reads: the target's rows lie 1 higher than the source's."""
    torch.manual_seed(seed)
    blocks = {"source": torch.randn(rows, INPUTS, dtype=torch.float64)}
    blocks["target"] = torch.randn(rows, INPUTS, dtype=torch.float64) + 1
    blocks[SECOND_VIEW] = blocks["target"] + 0.1 * torch.randn(rows, INPUTS, dtype=torch.float64)
    labels = torch.randint(CLASSES, (rows,))
    blocks[STRONG_VIEW] = blocks["target"] + 0.5 * torch.randn(rows, INPUTS, dtype=torch.float64)
    return TrainingBatch(method.blocks, torch.cat([blocks[name] for name in method.blocks]), labels)


def tiny_config(name: str, **sections):
    return build_config({"objective": {"name": name}, "train": {"steps": 10}, **sections}, "test")
