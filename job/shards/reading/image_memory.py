"""Samples that were decoded once, kept in memory for the passes after."""

from collections.abc import Mapping

import numpy as np

_NO_ROOM = np.iinfo(np.int64).min // 2


class DecodedSamples:
    """The samples of some shards of a domain, named by shard and index within the shard, as far as they are there yet.

    `samples` are those of each shard that has room, by its number, of size x size pixels; there are `shards` in all.
    `room` is how many samples those are. Safe to use from several threads: a sample is announced after its pixels and
    its label are in place.
    """

    def __init__(self, samples: Mapping[int, int], shards: int, size: int):
        self.room = total = sum(samples.values())
        self._first = np.full(shards, _NO_ROOM, np.int64)
        self._first[list(samples)] = np.cumsum([0, *samples.values()], dtype=np.int64)[:-1]
        # the system gives the memory when an image is put there, not before
        self._images = np.empty((total, size, size, 3), np.uint8)
        self._labels = np.empty(total, np.int64)
        self._held = np.zeros(total, bool)

    def take(self, shards: np.ndarray, samples: np.ndarray, images: np.ndarray, labels: np.ndarray) -> list[int]:
        """Copy the samples int [b], [b] to uint8 [b, S, S, 3] and int64 [b]; returns the rows that are not there."""
        if not self.room:
            return list(range(len(shards)))
        at = self._first[shards] + samples
        held = at >= 0
        held[held] = self._held[at[held]]
        if held.all():
            np.take(self._images, at, axis=0, out=images, mode="clip")  # as it is: every other mode copies twice
            np.take(self._labels, at, out=labels, mode="clip")
            return []
        images[held], labels[held] = self._images[at[held]], self._labels[at[held]]
        missing: list[int] = np.flatnonzero(~held).tolist()
        return missing

    def keep(self, shard: int, sample: int, image: np.ndarray, label: int) -> None:
        """Remember a sample, uint8 [S, S, 3], if there is room for its shard."""
        at = self._first.item(shard) + sample
        if at >= 0:
            self._images[at], self._labels[at] = image, label
            self._held[at] = True


class DecodedImages:
    """Memory for the decoded images of all domains, `max_bytes` of it, given away by whole shards.

    What has room keeps it: of data that is passed over again and again, throwing out what was used longest ago would
    keep just what is not asked for next.
    """

    def __init__(self, max_bytes: int):
        self._free = max_bytes

    def make_room(self, counts: Mapping[int, int], shards: int, size: int) -> DecodedSamples:
        """Room for as many shards as fit; `counts` are their samples by the number of the shard, of `shards` in all."""
        given = {}
        for number, samples in counts.items():
            needed = samples * size * size * 3
            if needed <= self._free:
                self._free -= needed
                given[number] = samples
        return DecodedSamples(given, shards, size)
