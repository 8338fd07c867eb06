"""Keep decoded samples in memory for later passes."""

from collections.abc import Mapping

import numpy as np

_NO_ROOM = np.iinfo(np.int64).min // 2


class DecodedSamples:
    """The decoded samples of some shards of a domain, identified by shard and index within the shard.

    `samples` maps the number of each shard that has room to its number of samples, of size x size pixels; `shards` is
    the number of all shards. `room` is the sum of `samples`. Safe to use from several threads: a sample is marked as
    present after its pixels and its label are written.
    """

    def __init__(self, samples: Mapping[int, int], shards: int, size: int):
        self.room = total = sum(samples.values())
        self._first = np.full(shards, _NO_ROOM, np.int64)
        self._first[list(samples)] = np.cumsum([0, *samples.values()], dtype=np.int64)[:-1]
        # the system allocates the memory when an image is written, not before
        self._images = np.empty((total, size, size, 3), np.uint8)
        self._labels = np.empty(total, np.int64)
        self._held = np.zeros(total, bool)

    def take(self, shards: np.ndarray, samples: np.ndarray, images: np.ndarray, labels: np.ndarray) -> list[int]:
        """Copy the samples int [b], [b] to uint8 [b, S, S, 3] and int64 [b]; return the rows that are not in memory."""
        if not self.room:
            return list(range(len(shards)))
        at = self._first[shards] + samples
        held = at >= 0
        held[held] = self._held[at[held]]
        if held.all():
            np.take(self._images, at, axis=0, out=images, mode="clip")  # other modes copy twice
            np.take(self._labels, at, out=labels, mode="clip")
            return []
        images[held], labels[held] = self._images[at[held]], self._labels[at[held]]
        missing: list[int] = np.flatnonzero(~held).tolist()
        return missing

    def keep(self, shard: int, sample: int, image: np.ndarray, label: int) -> None:
        """Store a sample, uint8 [S, S, 3], if its shard has room."""
        at = self._first.item(shard) + sample
        if at >= 0:
            self._images[at], self._labels[at] = image, label
            self._held[at] = True


class DecodedImages:
    """Memory of `max_bytes` for the decoded images of all domains, assigned to whole shards.

    A shard keeps its room: with repeated passes over the same data, evicting the least recently used images would keep
    just those that are needed last.
    """

    def __init__(self, max_bytes: int):
        self._free = max_bytes

    def make_room(self, counts: Mapping[int, int], shards: int, size: int) -> DecodedSamples:
        """Assign room to as many shards as fit; `counts` maps shard numbers to samples, `shards` counts all shards."""
        given = {}
        for number, samples in counts.items():
            needed = samples * size * size * 3
            if needed <= self._free:
                self._free -= needed
                given[number] = samples
        return DecodedSamples(given, shards, size)
