"""A training batch as methods see it: named blocks with the same number of rows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from job.methods.ranks import gather_rows

SECOND_VIEW = "second view"  # of the target's images, augmented once more
STRONG_VIEW = "strong view"  # augmented by data.augment.strong


@dataclass(frozen=True)
class TrainingBatch:
    """A rank's rows of a global batch, as network input: n rows for each block, in the order of `names`.

    `images` is float32 [blocks * n, 3, S, S]; `labels` int64 [n] belongs to the labelled block; [0] if there is none.
    `source_weights` [n] give the source the class shares of the target; None: the shares are not corrected.
    """

    names: tuple[str, ...]
    images: Tensor
    labels: Tensor
    source_weights: Tensor | None = None

    @property
    def gathered_source_weights(self) -> Tensor | None:
        """The source weights of the rows of all ranks, in the order of `gather_rows`."""
        return None if self.source_weights is None else gather_rows(self.source_weights)

    def split(self, rows: Tensor) -> dict[str, Tensor]:
        """Cut a tensor with a row for each image, [blocks * n, ...], into its blocks of n rows, by name."""
        return dict(zip(self.names, rows.chunk(len(self.names)), strict=True))

    def share(self, index: int, shares: int) -> "TrainingBatch":
        """Take share `index` of `shares`: an equal part of each block."""
        if shares == 1:
            return self
        rows = len(self.images) // len(self.names)
        part = rows // shares
        starts = [block * rows + index * part for block in range(len(self.names))]
        chosen = torch.cat([torch.arange(start, start + part) for start in starts])
        return TrainingBatch(self.names, self.images[chosen], self.labels[index * part : (index + 1) * part])
