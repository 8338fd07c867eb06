"""Convert a batch of bytes to network input, in the two places where the work is cheapest."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from job.config.data import Augment
from job.shards.reading.augment import DRAWN, colour, place
from job.shards.reading.batch_loader import Batch


@dataclass(frozen=True)
class Preparation:
    """Augments and normalises batches of `blocks` domains; `views` of 2 adds the last one's rows with other draws.

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

    @property
    def on_host(self) -> Callable[[Batch], Batch] | None:
        """The function that the loader's threads apply to a batch, or None."""
        return self._place if self.device.type == "cpu" else None

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Return float32 [n, 3, S, S]; n includes the rows of the second view, which follow all other rows."""
        placed = batch if self.on_host else self._place(batch)
        return colour(placed.images, placed.draws, self.augmentation, self.mean, self.std, self.channels_last)

    def _place(self, batch: Batch) -> Batch:
        images, draws = self._with_views(batch.images, batch.draws)
        return dataclasses.replace(batch, images=place(images, draws, self.augmentation), draws=draws)

    def _with_views(self, images: torch.Tensor, draws: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.views == 1:
            return images, draws
        target = len(images) - len(images) // self.blocks
        # the second view uses the draws that the first does not use
        return torch.cat([images, images[target:]]), torch.cat([draws, draws[target:].roll(DRAWN, 1)])
