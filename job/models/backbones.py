"""Feature extractors: the paper's two, a compact one for small faces, and every classifier of torchvision."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from torch import nn
from torchvision.models.vision_transformer import interpolate_embeddings

from job.system.errors import JobError, first_line

_DENSE = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")  # as published; modules have no dot in there


def mnist(size: int, norm: bool) -> nn.Module:
    """The MNIST architecture of Ganin et al. 2016, fig. 4a: [n, 3, size, size] -> [n, 48 * (size/4 - 3)^2]."""
    if size % 4 or size < 16:
        raise JobError(f"backbone mnist wants images of 16, 20, 24, 28, ... px and the shards hold {size} px")
    layers = []
    for inputs, outputs in ((3, 32), (32, 48)):
        layers += [nn.Conv2d(inputs, outputs, 5), *([nn.BatchNorm2d(outputs)] if norm else [])]
        layers += [nn.MaxPool2d(2), nn.ReLU()]  # the order does not matter to the result, but to the speed
    return nn.Sequential(*layers, nn.Flatten())


def svhn(size: int, norm: bool) -> nn.Module:
    """The SVHN architecture of Ganin et al. 2016, fig. 4b: [n, 3, size, size] -> [n, 128 * (size // 4)^2]."""
    layers = []
    for inputs, outputs, pool in ((3, 64, True), (64, 64, True), (64, 128, False)):
        layers += [nn.Conv2d(inputs, outputs, 5, padding=2), *([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU()]
        layers += [nn.MaxPool2d(3, stride=2, padding=1)] if pool else []
    return nn.Sequential(*layers, nn.Flatten())


def torchvision_names() -> list[str]:
    return torchvision.models.list_models(module=torchvision.models)


def from_torchvision(name: str, size: int, weights: str) -> nn.Module:
    """A torchvision classifier without its last linear layer, for images of `size` px.

    `weights` is "none", a local file of a state dict (a head of any size in it is ignored), or torchvision's own name
    for published ones, which are downloaded. Raises JobError when they cannot be had or do not fit.
    """
    options = {}
    if name.startswith("vit_"):
        patch = int(name.rpartition("_")[2])
        if size % patch:
            raise JobError(f"{name} cuts images into patches of {patch} px, which {size} px is no multiple of")
        options["image_size"] = size
    if name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": False}
    try:
        network = torchvision.models.get_model(name, weights=None, **options)
    except (TypeError, ValueError) as error:
        raise JobError(f"torchvision cannot build model.backbone={name}: {error}") from None
    linear = [(path, layer) for path, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not linear or linear[-1][1].out_features != 1000:
        raise JobError(f"backbone {name} has no linear layer at its end to take away: choose another, such as resnet18")
    path, _ = linear[-1]
    if weights != "none":
        state = {_DENSE.sub(r"\1\2", key): value for key, value in _read_weights(name, weights).items()}
        if name.startswith("vit_") and "encoder.pos_embedding" in state:
            state = interpolate_embeddings(size, patch, state)
        _load(network, state, path, f"model.weights={weights}")
    parent, _, leaf = path.rpartition(".")
    setattr(network.get_submodule(parent), leaf, nn.Identity())
    return network


def _read_weights(name: str, weights: str) -> dict[str, torch.Tensor]:
    if Path(weights).exists():
        try:
            if weights.endswith(".safetensors"):
                from safetensors.torch import load_file

                state = load_file(weights)
            else:
                state = torch.load(weights, map_location="cpu", weights_only=True)
        except Exception as error:
            raise JobError(f"cannot read model.weights={weights}: {first_line(error)}") from None
        for key in ("state_dict", "model"):
            state = state[key] if isinstance(state.get(key), dict) else state
        return {key.removeprefix("module."): value for key, value in state.items()}
    if "/" in weights or weights.endswith((".pth", ".pt", ".safetensors")):
        raise JobError(f"no file at model.weights={weights}")
    try:
        published = torchvision.models.get_model_weights(name)[weights]
    except KeyError:
        known = ", ".join(torchvision.models.get_model_weights(name).__members__)
        raise JobError(f"model.weights={weights} is no file, and for {name} torchvision has only {known}") from None
    try:
        return published.get_state_dict(progress=False, check_hash=True)
    except OSError as error:
        raise JobError(
            f"could not download {weights} of {name} ({error}): fetch {published.url} on a machine with internet "
            "and give its path as model.weights"
        ) from None


def _load(network: nn.Module, state: dict[str, torch.Tensor], head: str, where: str) -> None:
    own = network.state_dict()
    wanted = {key for key in own if not key.startswith(f"{head}.")}
    lacking = sorted(key for key in wanted if key not in state and not key.endswith("num_batches_tracked"))
    if lacking:
        raise JobError(f"{where} does not fit: it lacks {lacking[0]} and {len(lacking) - 1} more")
    for key in sorted(wanted & set(state)):
        if state[key].shape != own[key].shape:
            raise JobError(f"{where} does not fit: {key} is {tuple(state[key].shape)}, wanted {tuple(own[key].shape)}")
    load_state(network, {key: value for key, value in state.items() if key in wanted}, strict=False)


def load_state(network: nn.Module, state: Mapping[str, torch.Tensor], strict: bool = True) -> None:
    """Load a state dict that has lost the versions of its modules, as every file has but PyTorch's own.

    Without them mnasnet refuses it.
    """
    state = OrderedDict(state)
    state._metadata = network.state_dict()._metadata
    network.load_state_dict(state, strict=strict)
