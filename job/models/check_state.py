"""Check stored weights before they are loaded: PyTorch loads NaN and another precision silently."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from job.system.errors import JobError


def check_state(network: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Raise JobError for the first tensor that is missing, unknown, of another shape or type, or not finite.

    `where` names the checkpoint in the message.
    """
    own = network.state_dict()
    for name in (*own, *state):
        problem = _problem(own.get(name), state.get(name))
        if problem:
            raise JobError(f"the weights in {where} cannot be used: {name} {problem}; use another checkpoint")


def _problem(own: Tensor | None, stored: Tensor | None) -> str | None:
    if stored is None:
        return "is missing"
    if own is None:
        return "belongs to no layer of the network that the configuration describes"
    if stored.shape != own.shape:
        return f"is {tuple(stored.shape)} and the network's is {tuple(own.shape)}"
    if stored.dtype != own.dtype:
        return f"is {_name(stored.dtype)} and the network's is {_name(own.dtype)}"
    if not torch.isfinite(stored).all():
        return "contains NaN or infinite values"
    return None


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
