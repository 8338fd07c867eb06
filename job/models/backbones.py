"""Feature extractors: the two of Ganin et al. 2016, and every classifier of torchvision.

torchvision is imported where one of its classifiers is needed: it takes 1.5 s and opens 900 files.
"""

import re

import torch
from torch import nn

from job.models.weights import load_backbone, read_weights
from job.system.errors import JobError

_DENSE = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")  # published names; ours have no dot there


def mnist(size: int, norm: bool) -> nn.Module:
    """Build the MNIST architecture of Ganin et al. 2016, fig. 4a: [n, 3, size, size] -> [n, 48 * (size/4 - 3)^2]."""
    if size % 4 or size < 16:
        raise JobError(f"backbone mnist requires images of 16, 20, 24, 28, ... px and the shards have {size} px")
    layers = []
    for inputs, outputs in ((3, 32), (32, 48)):
        layers += [nn.Conv2d(inputs, outputs, 5), *([nn.BatchNorm2d(outputs)] if norm else [])]
        layers += [nn.MaxPool2d(2), nn.ReLU()]  # ReLU last: the same result, and faster
    return nn.Sequential(*layers, nn.Flatten())


def svhn(size: int, norm: bool) -> nn.Module:
    """Build the SVHN architecture of Ganin et al. 2016, fig. 4b: [n, 3, size, size] -> [n, 128 * (size // 4)^2]."""
    layers = []
    for inputs, outputs, pool in ((3, 64, True), (64, 64, True), (64, 128, False)):
        layers += [nn.Conv2d(inputs, outputs, 5, padding=2), *([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU()]
        layers += [nn.MaxPool2d(3, stride=2, padding=1)] if pool else []
    return nn.Sequential(*layers, nn.Flatten())


def torchvision_names() -> list[str]:
    import torchvision

    return torchvision.models.list_models(module=torchvision.models)


def from_torchvision(name: str, size: int, weights: str) -> nn.Module:
    """Build a torchvision classifier without its last linear layer, for images of `size` px.

    `weights` is "none", a local file of a state dict (its head is ignored), or torchvision's name of published
    weights, which are downloaded. Raises JobError when the weights cannot be loaded or do not fit.
    """
    import torchvision
    from torchvision.models.vision_transformer import interpolate_embeddings

    options = {}
    if name.startswith("vit_"):
        patch = int(name.rpartition("_")[2])
        if size % patch:
            raise JobError(f"{name} cuts images into patches of {patch} px, and {size} px is not a multiple of that")
        options["image_size"] = size
    if name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": False}
    try:
        network = torchvision.models.get_model(name, weights=None, **options)
    except (TypeError, ValueError) as error:
        raise JobError(f"torchvision cannot build model.backbone={name}: {error}") from None
    linear = [(path, layer) for path, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not linear or linear[-1][1].out_features != 1000:
        raise JobError(
            f"backbone {name} does not end in a linear layer of 1000 classes: choose another, such as resnet18"
        )
    path, _ = linear[-1]
    if weights != "none":
        state = read_weights(weights)
        state = _published(name, weights) if state is None else state
        state = {_DENSE.sub(r"\1\2", key): value for key, value in state.items()}
        if name.startswith("vit_") and "encoder.pos_embedding" in state:
            state = interpolate_embeddings(size, patch, state)
        load_backbone(network, state, f"model.weights={weights}", name, [path])
    parent, _, leaf = path.rpartition(".")
    setattr(network.get_submodule(parent), leaf, nn.Identity())
    return network


def _published(name: str, weights: str) -> dict[str, torch.Tensor]:
    import torchvision

    try:
        published = torchvision.models.get_model_weights(name)[weights]
    except KeyError:
        known = ", ".join(torchvision.models.get_model_weights(name).__members__)
        raise JobError(f"model.weights={weights} is not a file, and torchvision has only {known} for {name}") from None
    try:
        return published.get_state_dict(progress=False, check_hash=True)
    except OSError as error:
        raise JobError(
            f"could not download {weights} of {name} ({error}): fetch {published.url} on a machine with internet "
            "and give its path as model.weights"
        ) from None
