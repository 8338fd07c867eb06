"""Images that were decoded once, kept in memory for the passes after."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class DecodedShard:
    """The images of a shard, uint8 [n, S, S, 3], and for each whether it is there yet."""

    images: np.ndarray
    held: bytearray


class DecodedImages:
    """Memory for decoded images, `max_bytes` of it in all, by whole shards.

    What has room keeps it: of data that is passed over again and again, throwing out what was used longest ago would
    keep just what is not asked for next. The system gives the memory when an image is put there, not before.
    """

    def __init__(self, max_bytes: int):
        self._free = max_bytes

    def make_room(self, counts: Mapping[int, int], size: int) -> dict[int, DecodedShard]:
        """Room for as many shards as fit, by number; `counts` are their samples, of size x size pixels."""
        made = {}
        for number, samples in counts.items():
            needed = samples * size * size * 3
            if needed <= self._free:
                self._free -= needed
                made[number] = DecodedShard(np.empty((samples, size, size, 3), np.uint8), bytearray(samples))
        return made
