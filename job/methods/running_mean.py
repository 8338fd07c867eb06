"""A moving average over the rows of all ranks: the same for any number of ranks and of shares of a batch."""

import torch
from torch import Tensor, nn

from job.methods.ranks import mean_over_ranks


class RunningMean(nn.Module):
    """Mean of [n, k] rows, averaged over the steps. It changes after a step, so all shares of a batch see one value."""

    value: Tensor  # [k]
    _sum: Tensor  # [k], of the means of this step's forward passes
    _passes: Tensor  # 0-dim, their number

    def __init__(self, start: Tensor, decay: float) -> None:
        super().__init__()
        self._decay = decay
        self.register_buffer("value", start)
        self.register_buffer("_sum", torch.zeros_like(start), persistent=False)
        self.register_buffer("_passes", torch.zeros(()), persistent=False)

    @torch.no_grad()
    def add(self, rows: Tensor) -> None:
        """Add the [n, k] rows of a forward pass, of any type. All ranks take part, with the same number of rows."""
        self._sum += mean_over_ranks(rows.to(self._sum.dtype).mean(0))
        self._passes += 1

    @torch.no_grad()
    def update(self) -> None:
        """Move the value towards the mean of the rows that were added since the last update, at least one."""
        self.value.lerp_(self._sum / self._passes.to(self._sum.dtype), 1 - self._decay)
        self._sum.zero_()
        self._passes.zero_()
