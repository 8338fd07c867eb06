"""Divide a backbone into stages and layers, from the input to the output: to freeze some, or to train them slower."""

from collections.abc import Collection, Iterator
from itertools import chain

from torch import nn

from job.system.errors import JobError

_BOXES = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_HEADS = ("classifier", "head", "heads")  # torchvision's names of what follows the features


def layers_of(backbone: nn.Module, *, stages: bool = False) -> list[list[str]]:
    """Return the names of the parameters of each layer (such as a residual block), or of each stage (layer1, ...).

    The first contains everything before the first block, the last everything after it; every parameter occurs once.
    Networks of timm define their blocks themselves.
    """
    matcher = getattr(backbone, "group_matcher", None)
    if matcher is not None:
        from timm.models import group_parameters

        groups = group_parameters(backbone, matcher(coarse=stages))
        return [list(groups[number]) for number in sorted(groups)]
    trunk, prefix = _trunk(backbone)
    units = [f"{prefix}{name}" for name, _ in _parts(trunk)]
    if not stages:
        units = list(chain.from_iterable(_blocks(backbone, unit) for unit in units))
    return _grouped(backbone, units)


def freeze(backbone: nn.Module, frozen: int | Collection[str]) -> None:
    """Exclude the first stages of a backbone, or its modules and parameters of these names, from training.

    Raises JobError when there are fewer stages, or no such name.
    """
    if isinstance(frozen, int):
        stages = layers_of(backbone, stages=True)
        if frozen > len(stages):
            raise JobError(f"model.freeze={frozen}: the backbone has {len(stages)} stages")
        chosen = set(chain.from_iterable(stages[:frozen]))
    else:
        chosen = set()
        for name in frozen:
            below = {key for key, _ in backbone.named_parameters() if f"{key}.".startswith(f"{name}.")}
            if not below:
                known = ", ".join(dict.fromkeys(key.partition(".")[0] for key, _ in backbone.named_parameters()))
                raise JobError(f"model.freeze: the backbone has no {name}; its parts are {known}")
            chosen |= below
    for name, parameter in backbone.named_parameters():
        if name in chosen:
            parameter.requires_grad = False


def frozen_modules(backbone: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that have parameters of their own, none of which is trained."""
    for module in backbone.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            yield module


def _trunk(backbone: nn.Module) -> tuple[nn.Module, str]:
    """Return the module whose children are the stages, and the prefix of their names."""
    trunk, prefix = backbone, ""
    while not isinstance(trunk, _BOXES):
        parts = _parts(trunk)
        boxes = [part for part in parts if isinstance(part[1], _BOXES)]
        if len(boxes) > 1 or not parts:
            break
        name, inner = boxes[0] if boxes else max(parts, key=lambda part: _size(part[1]))
        if not boxes and 2 * _size(inner) < _size(trunk):
            break
        trunk, prefix = inner, f"{prefix}{name}."
    return trunk, prefix


def _parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, part) for name, part in module.named_children() if _size(part) and name not in _HEADS]


def _blocks(backbone: nn.Module, unit: str) -> list[str]:
    """Return the names of the parts of a stage, if it is a container, or its own."""
    stage = backbone.get_submodule(unit)
    return [f"{unit}.{name}" for name, _ in _parts(stage)] if isinstance(stage, _BOXES) else [unit]


def _grouped(backbone: nn.Module, units: list[str]) -> list[list[str]]:
    """Group the parameters by unit. Those of no unit, and units without a matrix such as BatchNorm, join the last."""
    heavy = {
        unit for unit in units if any(parameter.ndim > 1 for parameter in backbone.get_submodule(unit).parameters())
    }
    groups: list[list[str]] = []
    current = None
    for name, _ in backbone.named_parameters():
        unit = next((unit for unit in units if name.startswith(f"{unit}.")), None)
        if not groups or (unit in heavy and unit != current):
            groups.append([])
        current = unit or current
        groups[-1].append(name)
    return groups


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
