"""Read files of weights, and load them into a network with one line for each mistake."""

import argparse
import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from job.system.errors import JobError, first_line

log = logging.getLogger("job")
# keys under which training programs save the weights; an average before what it averages
_CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "state_dict_backbone", "model_state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
_ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".tar", ".ckpt")


def read_weights(weights: str) -> dict[str, Tensor] | None:
    """Read the state dict in the file `weights`, without the prefixes of wrappers; None for a name that is no path.

    Raises JobError for a file that is missing, cannot be read, or has no weights.
    """
    path, where = Path(weights), f"model.weights={weights}"
    if not path.exists():
        if "/" in weights or weights.endswith(_ENDINGS):
            raise JobError(f"no file at {where}")
        return None
    try:
        content = _read(path)
    except Exception as error:  # zipfile, pickle and safetensors raise errors of many types for malformed files
        raise JobError(f"cannot read {where}: {first_line(error)}") from None
    while isinstance(content, dict):
        inner = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = inner
    state = {}
    for name, value in content.items() if isinstance(content, dict) else ():
        while isinstance(name, str) and name.startswith(_WRAPPERS):
            name = name.partition(".")[2]
        if isinstance(value, Tensor):
            state[str(name)] = value
    if not state:
        raise JobError(f"{where} holds no weights: give the file of a state dict")
    return state


def _read(path: Path) -> object:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    with torch.serialization.safe_globals([argparse.Namespace]):  # the command line of timm's training script
        return torch.load(path, map_location="cpu", weights_only=True)


def no_published_weights(name: str, weights: str) -> JobError:
    """Return the error for weights that can only be a file."""
    return JobError(f"model.weights={weights} is not a file, and no weights of {name} are published by name")


def load_backbone(
    network: nn.Module, state: Mapping[str, Tensor], where: str, name: str, heads: Iterable[str] = ()
) -> None:
    """Load the weights `state` of the whole network `name`; what lies under `heads` is neither required nor loaded.

    Raises JobError when nothing fits, weights are missing, of another shape or not finite, or of a deeper network.
    """
    below = tuple(f"{head}." for head in heads)
    own = {key: value for key, value in network.state_dict().items() if not key.startswith(below)}
    given = {key: value for key, value in state.items() if not key.startswith(below)}
    if not own.keys() & given.keys():
        raise JobError(f"{where} has no weights of {name}: it holds {_shown(state)}, and {name} has {_shown(own)}")
    missing = sorted(key for key in own.keys() - given.keys() if not key.endswith("num_batches_tracked"))
    if missing:
        raise JobError(f"{where} does not fit {name}: {_shown(missing)} missing; it holds {_shown(given)}")
    parts = {key.partition(".")[0] for key in own}
    unknown = sorted(given.keys() - own.keys())
    if others := [key for key in unknown if key.partition(".")[0] in parts]:
        raise JobError(f"{where} does not fit {name}, which has no {_shown(others)}: choose the backbone of the file")
    if unknown:
        log.info("%s: not used: %s", where, _shown(unknown))
    for key in sorted(own.keys() & given.keys()):
        if given[key].shape != own[key].shape:
            raise JobError(
                f"{where} does not fit {name}: {key} is {tuple(given[key].shape)}, expected {tuple(own[key].shape)}"
            )
        if not torch.isfinite(given[key]).all():
            raise JobError(f"{where} cannot be used: {key} holds NaN or infinite values")
    load_state(network, {key: given[key] for key in own if key in given}, strict=False)


def load_state(network: nn.Module, state: Mapping[str, Tensor], strict: bool = True) -> None:
    """Load a state dict without module versions, which only PyTorch's own files keep.

    The versions come from the network: mnasnet refuses a state dict without them.
    """
    state = OrderedDict(state)
    state._metadata = network.state_dict()._metadata  # type: ignore[attr-defined]
    network.load_state_dict(state, strict=strict)


def _shown(keys: Iterable[str]) -> str:
    """Return the first of some keys and how many there are more."""
    first, *others = keys
    return f"{first} and {len(others)} more" if others else first
