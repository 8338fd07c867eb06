"""Backbones of timm (Wightman 2019, "PyTorch Image Models") by their names there: timm/resnet50, timm/convnext_tiny."""

import contextlib
import difflib
import logging
import sys
from typing import Any

from torch import Tensor, nn

from job.models.weights import load_backbone, read_weights
from job.system.errors import JobError, first_line

PREFIX = "timm/"
HUB = "hf-hub:"  # model.weights=hf-hub:USER/NAME


def from_timm(name: str, size: int, weights: str) -> nn.Module:
    """Build a classifier of timm without its head, for images of `size` px: [n, 3, size, size] -> [n, width].

    `name` may end in the tag of published weights (resnet50.a1_in1k). `weights` is "none", a local file, DEFAULT (of
    the tag in the name, or else timm's first), a tag, or hf-hub:USER/NAME; all but a file are downloaded from the
    Hugging Face hub. Raises JobError for an unknown name, an unsupported size, or weights that cannot be loaded or do
    not fit.
    """
    import timm

    for library in ("timm", "huggingface_hub"):  # which log each retry of a download in several lines
        logging.getLogger(library).setLevel(logging.ERROR)
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=1)
        hint = f"did you mean {PREFIX}{close[0]}?" if close else "timm.list_models() lists them"
        raise JobError(f"unknown model.backbone {PREFIX}{name}: {hint}")
    _check_tag(architecture, tag)
    options: dict[str, Any] = {"num_classes": 0}
    published = timm.get_pretrained_cfg(name)
    if published is not None and published.fixed_input_size:
        options["img_size"] = size
    state = None if weights == "none" or weights.startswith(HUB) else read_weights(weights)
    if state is None and weights != "none":
        network = _download(architecture, tag, weights, options)
    else:
        try:
            network = timm.create_model(name, **options)
        except Exception as error:  # hundreds of networks, with errors of many types
            raise JobError(f"timm cannot build {name} for images of {size} px: {first_line(error)}") from None
    _check_patches(network, name, size)
    if state is not None:
        _load(network, state, f"model.weights={weights}", name)
    return network


def _check_tag(architecture: str, tag: str) -> None:
    """Raise JobError unless timm knows weights of this name; an empty one is its default."""
    import timm

    known = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in known:
        raise JobError(
            f"timm has no weights {tag} of {architecture}, only {', '.join(known) or 'none'}, and no file has that name"
        )


def _check_patches(network: nn.Module, name: str, size: int) -> None:
    embedding = getattr(network, "patch_embed", None) or getattr(network, "stem", None)
    cut = getattr(embedding, "proj", None)
    patch = cut.stride[0] if isinstance(cut, nn.Conv2d) and cut.stride == cut.kernel_size else 1  # no overlap
    if size % patch:
        raise JobError(
            f"{PREFIX}{name} cuts images into patches of {patch} px, and {size} px is not a multiple of that"
        )


def _download(architecture: str, tag: str, weights: str, options: dict[str, Any]) -> nn.Module:
    """Build a network with weights of the hub. Raises JobError when they cannot be loaded."""
    import timm

    if weights.startswith(HUB):
        place: dict[str, Any] = {"hf_hub_id": weights.removeprefix(HUB), "source": "hf-hub", "custom_load": False}
    else:
        tag = tag if weights == "DEFAULT" else weights
        _check_tag(architecture, tag)
        place = {}
    name = f"{architecture}.{tag}" if tag else architecture
    try:
        network: nn.Module = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=place, **options)
    except Exception as error:  # of huggingface_hub, of the network, or of a file that does not fit
        where = place.get("hf_hub_id") or timm.get_pretrained_cfg(name).hf_hub_id
        raise JobError(
            f"could not load the weights of {name} from https://huggingface.co/{where} ({first_line(error)}): fetch "
            "model.safetensors there on a machine with internet and give its path as model.weights"
        ) from None
    return network


def _load(network: nn.Module, state: dict[str, Tensor], where: str, name: str) -> None:
    """Load a file in timm's own names or, where timm can convert them, in those of the network's authors."""
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is not None:
        # fits positional embeddings to the size, too; fails for another network's file, which load_backbone describes
        with contextlib.suppress(Exception):
            state = convert(state, network)
    published: dict[str, Any] = getattr(network, "pretrained_cfg", {})
    classifier = published.get("classifier") or ()
    heads = (classifier,) if isinstance(classifier, str) else classifier
    load_backbone(network, state, where, PREFIX + name, heads)
