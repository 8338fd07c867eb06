"""Build the network that a configuration describes."""

import difflib
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from job.config.schema import Model
from job.models import backbones, from_timm, iresnet
from job.models.classifier import Classifier
from job.models.compact import CompactCNN
from job.models.heads import head
from job.models.stages import freeze
from job.system.errors import JobError, first_line

# Hidden widths of the label predictor and of the domain classifier, per backbone (Ganin et al. 2016, fig. 4).
HEADS = {"mnist": ((100, 100), (100,)), "svhn": ((3072, 2048), (1024, 1024)), "compact": ((), (256,))}
TORCHVISION_HEADS = ((), (1024, 1024))
HUB = "hf://"  # begins the name of a model on the Hugging Face hub


def is_checkpoint_path(weights: str) -> bool:
    """Return whether `model.weights` names a checkpoint of this project: a folder, a pointer to one, or its weights.

    A model on the hub (hf://USER/NAME) is such a folder.
    """
    if weights.startswith(HUB):
        return True
    path = Path(weights)
    within_checkpoint = path.suffix == ".safetensors" and (path.parent / "meta.json").exists()
    return os.path.isdir(path) or within_checkpoint or (os.path.isfile(path) and path.name in ("latest", "best"))


def memory_format(settings: Model, device: torch.device) -> torch.memory_format:
    """Return the faster memory format of images and weights: channels last on GPUs, and on CPUs for small networks.

    Measured by `benchmarks/step.py` on a CPU: a quarter less time for compact and mnist, a fifth more for resnet18.
    """
    last = device.type == "cuda" or settings.backbone in HEADS
    return torch.channels_last if last else torch.contiguous_format


def build_network(settings: Model, size: int, classes: int, *, load_weights: bool = True) -> Classifier:
    """Build the network for images of `size` px and `classes` classes; new layers draw from torch's generator.

    Without `load_weights` pretrained weights are not loaded: a checkpoint will replace them. Raises JobError
    for an unknown backbone, weights that do not fit, or a size that the backbone cannot take.
    """
    backbone = _backbone(settings, size, load_weights)
    width = _width(backbone, size, settings.backbone)
    freeze(backbone, settings.freeze)
    extractor = nn.Sequential(backbone)
    if settings.bottleneck:
        extractor.append(nn.Linear(width, settings.bottleneck))
        if settings.batch_norm != "none":
            extractor.append(nn.BatchNorm1d(settings.bottleneck))
        extractor.append(nn.ReLU())
        width = settings.bottleneck
    label_hidden, domain_hidden = HEADS.get(settings.backbone, TORCHVISION_HEADS)
    if settings.label_hidden is not None:
        label_hidden = settings.label_hidden
    if settings.domain_hidden is not None:
        domain_hidden = settings.domain_hidden
    return Classifier(
        extractor,
        head(width, label_hidden, classes, settings.dropout),
        width=width,
        classes=classes,
        domain_hidden=domain_hidden,
        freeze_batch_norm=settings.batch_norm == "frozen",
        pretrained=settings.weights != "none",
    )


def new_modules(network: Classifier) -> list[nn.Module]:
    """List the parts of a network without loaded weights, which `initialise` may draw again."""
    extractor = network.feature_extractor
    drawn = list(extractor[1:]) if network.pretrained else [extractor]
    return [*drawn, network.label_predictor]


def _backbone(settings: Model, size: int, load_weights: bool) -> nn.Module:
    name, norm = settings.backbone, settings.batch_norm != "none"
    own = {
        "compact": lambda: CompactCNN(norm="batch" if norm else "none"),
        "mnist": lambda: backbones.mnist(size, norm),
        "svhn": lambda: backbones.svhn(size, norm),
    }
    if name in own:
        return own[name]()  # model.weights can only be a checkpoint, which gives the whole network: see job.training
    weights = settings.weights if load_weights and not is_checkpoint_path(settings.weights) else "none"
    if name.startswith(from_timm.PREFIX):
        backbone = from_timm.from_timm(name.removeprefix(from_timm.PREFIX), size, weights)
    elif name in iresnet.BLOCKS:
        backbone = iresnet.build(name, size, weights)
    else:
        known = [*own, *iresnet.BLOCKS, *backbones.torchvision_names()]
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else "docs/training.md#backbones-and-weights lists the families"
            raise JobError(f"unknown model.backbone {name}: {hint}")
        backbone = backbones.from_torchvision(name, size, weights)
    if not norm and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in backbone.modules()):
        raise JobError(f"model.batch_norm=none: {name} has BatchNorm built in; use mixed, sync or frozen")
    return backbone


def _width(backbone: nn.Module, size: int, name: str) -> int:
    try:
        with torch.no_grad():
            features: Tensor = backbone.eval()(torch.zeros(1, 3, size, size))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise JobError(f"backbone {name} cannot take images of {size} px: {first_line(error)}") from None
    finally:
        backbone.train()
    if features.ndim != 2:
        raise JobError(
            f"backbone {name} returns {tuple(features.shape)} for an image instead of a vector: choose another"
        )
    return features.shape[1]
