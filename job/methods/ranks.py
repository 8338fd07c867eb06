"""Rows and sums of all ranks, for losses that are not a mean over rows."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from job.system.random_numbers import mix


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, rows.contiguous())
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)  # autograd may use the original elsewhere
        dist.all_reduce(gradient)
        first = dist.get_rank() * ctx.rows
        return gradient[first : first + ctx.rows]


def gather_rows(rows: Tensor) -> Tensor:
    """Gather [n, ...] rows of every rank: [ranks * n, ...], differentiable. All ranks pass the same number of rows.

    A loss of gathered rows is the same on every rank. Backward sums the ranks' gradients of a row, and DDP takes the
    mean over ranks: the result is the gradient of that one loss, so nothing has to be scaled.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    gathered: Tensor = _GatherRows.apply(rows)
    return gathered


@torch.no_grad()
def from_first_rank(value: Tensor) -> Tensor:
    """Return the first rank's value of a tensor of constants that every rank has; no gradient passes."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return value
    value = value.clone(memory_format=torch.contiguous_format)
    dist.broadcast(value, 0)
    return value


@torch.no_grad()
def mean_over_ranks(value: Tensor) -> Tensor:
    """Average a tensor of constants over the ranks; no gradient passes."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value / dist.get_world_size()


def shared_generator(seed: int, use: str, progress: float = 0.0) -> torch.Generator:
    """Return a generator on the CPU that draws the same on every rank, on any number of ranks and after a resume.

    `seed` is that of the method or term, `use` names what is drawn. Call it in `__init__` and in `after_step`, and keep
    what is drawn in a buffer; in `forward` the draw would wait for the GPU and could not be compiled.
    """
    return torch.Generator().manual_seed(mix(seed, use, progress.hex()) >> 1)
