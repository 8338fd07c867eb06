"""Build a method with its network, and load weights of any version of this project."""

from collections.abc import Mapping

import torch
from torch import Tensor

from job.config.schema import Config
from job.methods import METHODS, add_terms
from job.methods.base import Method
from job.models.build import build_network, new_modules
from job.models.check_state import check_state
from job.models.heads import head, initialise
from job.models.weights import load_state


def build_method(config: Config, size: int, classes: int, *, load_weights: bool = True) -> Method:
    """Build the configured method for images of `size` px and `classes` classes; the seed determines all new weights.

    Without `load_weights` pretrained weights are not read, because a checkpoint will provide all. Raises JobError for a
    network that cannot be built or that the method cannot use.
    """
    torch.manual_seed(config.seed)
    network = build_network(config.model, size, classes, load_weights=load_weights)
    method = METHODS[config.objective.name](network, config.objective)
    if method.adversary is None:
        # drawn and dropped, so that a seed gives the same network with and without an adversary
        head(network.width, network.domain_hidden, 1)
    add_terms(method)
    added = [module for module in method.children() if module is not network]
    for module in (*new_modules(network), *added):
        initialise(module, config.model.init)
    return method


def load_weights(method: Method, weights: Mapping[str, Tensor], where: str) -> None:
    """Load the weights of the checkpoint `where`. Raises JobError if they are not finite or do not fit."""
    named = renamed(weights, method.adversary is not None)
    check_state(method, named, where)
    load_state(method, named)


def renamed(weights: Mapping[str, Tensor], adversary: bool = True) -> dict[str, Tensor]:
    """Return weights under the names of this version. Up to 0.1 the network and its domain classifier were one module.

    Every checkpoint of 0.1 contains a domain classifier; without an `adversary` it is dropped.
    """
    if not any(name.startswith("feature_extractor.") for name in weights):
        return dict(weights)
    new = {"feature_extractor": "network", "label_predictor": "network", "domain_classifier": "adversary"}
    named = {f"{new[name.partition('.')[0]]}.{name}": value for name, value in weights.items()}
    return {name: value for name, value in named.items() if adversary or not name.startswith("adversary.")}
