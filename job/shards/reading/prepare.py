"""Convert a batch of bytes to network input, in the two places where the work is cheapest."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from job.config.data import Augment
from job.shards.reading.augment import CROP_AREA, CROP_Y, DRAWN, colour, place, to_planes
from job.shards.reading.batch_loader import Batch
from job.shards.reading.strong_view import STRONG_DRAWN, neutral, retouch, strong_view

# Columns of a batch's draws: those of both ordinary views (DRAWN each), of the strong view, then what a crop and
# retouching need besides, of each ordinary view and of the strong one. So they change no number of the others.
_STRONG = slice(2 * DRAWN, 2 * DRAWN + STRONG_DRAWN)
_CROP = CROP_Y + 1 - CROP_AREA
_FURTHER = STRONG_DRAWN - DRAWN + _CROP  # of an ordinary view: it then has the columns of a strong one
_ALL = _STRONG.stop + 2 * _FURTHER + _CROP


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
    standardize: bool = False

    @property
    def draws(self) -> int:
        """How many random numbers a sample needs. The numbers of the ordinary views are the same with a strong one."""
        if self._further:
            return _ALL
        return 2 * DRAWN + (STRONG_DRAWN if self.strong else 0)

    @property
    def _further(self) -> bool:
        """Whether the augmentation needs further columns of draws."""
        return self.augmentation.retouches or self.augmentation.crop is not None

    @property
    def on_host(self) -> Callable[[Batch], Batch] | None:
        """The function that the loader's threads apply to a batch, or None."""
        return self._place if self.device.type == "cpu" else None

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Return float32 [n, 3, S, S]; n includes the rows of the further views, which follow all others."""
        placed = batch if self.on_host else self._place(batch)
        return colour(
            placed.images, placed.draws, self.augmentation, self.mean, self.std, self.channels_last, self.standardize
        )

    def _place(self, batch: Batch) -> Batch:
        images, draws = self._with_views(batch.images, batch.draws)
        placed = place(images, draws, self.augmentation)
        if self.augmentation.retouches:
            placed = retouch(placed, draws, self.augmentation)
        if self.strong:
            target = self._target(len(batch.images))
            strong = strong_view(batch.images[target], self._strong_draws(batch.draws[target]), self.augmentation)
            placed = torch.cat([placed, strong if placed.dtype == torch.uint8 else to_planes(strong)])
            draws = torch.cat([draws, neutral(draws[: len(strong)])])  # its colours are finished
        return dataclasses.replace(batch, images=placed, draws=draws)

    def _with_views(self, images: torch.Tensor, draws: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        target = self._target(len(images))
        first, second = self._view_draws(draws, 0), self._view_draws(draws[target], 1)
        if self.views == 1:
            return images, first
        return torch.cat([images, images[target]]), torch.cat([first, second])

    def _view_draws(self, draws: torch.Tensor, view: int) -> torch.Tensor:
        """Return the columns of ordinary view 0 or 1, in the order in which `place` and `retouch` expect them."""
        own = draws[:, view * DRAWN : (view + 1) * DRAWN]
        further = _STRONG.stop + view * _FURTHER
        return torch.cat([own, draws[:, further : further + _FURTHER]], 1) if self._further else own

    def _strong_draws(self, draws: torch.Tensor) -> torch.Tensor:
        """Return the columns of the strong view, likewise."""
        own = draws[:, _STRONG]
        return torch.cat([own, draws[:, _ALL - _CROP :]], 1) if self._further else own

    def _target(self, rows: int) -> slice:
        return slice(rows - rows // self.blocks, rows)
