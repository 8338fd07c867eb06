"""Convert a batch of bytes to network input, in the two places where the work is cheapest."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from job.config.data import Augment
from job.shards.reading.augment import DRAWN, colour, place, to_planes
from job.shards.reading.batch_loader import Batch
from job.shards.reading.strong_view import STRONG_DRAWN, neutral, strong_view


@dataclass(frozen=True)
class Preparation:
    """Augments and normalises batches of `blocks` domains, and adds further views of the last one's rows.

    `views` of 2 adds these rows with other draws, `strong` adds them under `data.augment.strong`.

    On a CPU the thread that filled the batch applies the geometry (`on_host`, for the BatchLoader), while the network
    computes the batch before; on a GPU everything is done there.
    """

    augmentation: Augment
    mean: Sequence[float]
    std: Sequence[float]
    channels_last: bool
    device: torch.device
    views: int = 1
    blocks: int = 2
    strong: bool = False

    @property
    def draws(self) -> int:
        """How many random numbers a sample needs. The numbers of the ordinary views are the same with a strong one."""
        return 2 * DRAWN + (STRONG_DRAWN if self.strong else 0)

    @property
    def on_host(self) -> Callable[[Batch], Batch] | None:
        """The function that the loader's threads apply to a batch, or None."""
        return self._place if self.device.type == "cpu" else None

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Return float32 [n, 3, S, S]; n includes the rows of the further views, which follow all others."""
        placed = batch if self.on_host else self._place(batch)
        return colour(placed.images, placed.draws, self.augmentation, self.mean, self.std, self.channels_last)

    def _place(self, batch: Batch) -> Batch:
        images, draws = self._with_views(batch.images, batch.draws)
        placed = place(images, draws, self.augmentation)
        if self.strong:
            target = self._target(len(batch.images))
            drawn = batch.draws[target, 2 * DRAWN :]
            strong = strong_view(batch.images[target], drawn, self.augmentation)
            placed = torch.cat([placed, strong if placed.dtype == torch.uint8 else to_planes(strong)])
            draws = torch.cat([draws, neutral(batch.draws[target])])  # its colours are finished
        return dataclasses.replace(batch, images=placed, draws=draws)

    def _with_views(self, images: torch.Tensor, draws: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.views == 1:
            return images, draws
        target = self._target(len(images))
        # the second view uses the draws that follow those of the first
        return torch.cat([images, images[target]]), torch.cat([draws, draws[target].roll(-DRAWN, 1)])

    def _target(self, rows: int) -> slice:
        return slice(rows - rows // self.blocks, rows)
