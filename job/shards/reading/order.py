"""Compute the samples of global batch t: a pure function of (seed, step), equal on any number of ranks.

The shards of a domain are dealt once to S canonical streams. A stream makes pass after pass over its shards; each pass
has a new order of shards, cut into blocks of `block_shards`, and the samples of a block are shuffled together.
Global batch t takes the samples [t b, (t + 1) b) of every stream, b = B / S. Each rank serves whole streams, so a shard
is read by one rank only. Resuming replays nothing: a position is computed by counting.
"""

import heapq
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np

from job.system.errors import JobError
from job.system.random_numbers import mix, permutation

Name = TypeVar("Name")
Value = TypeVar("Value")


def rank_streams(streams: int, rank: int, world_size: int) -> range:
    """Return the streams that `rank` serves: an equal, contiguous share.

    Raises JobError when there are more ranks than streams, or the streams cannot be shared out equally.
    """
    if world_size > streams:
        raise JobError(
            f"data.streams is {streams} but there are {world_size} ranks, and every rank needs a stream of its own: "
            f"set data.streams to {world_size} or a multiple of it, or start {streams} ranks or fewer"
        )
    if streams % world_size:
        fitting = ", ".join(str(n) for n in range(1, streams + 1) if streams % n == 0)
        raise JobError(
            f"data.streams is {streams}, which {world_size} ranks cannot share equally: start one of {fitting} ranks, "
            f"or set data.streams to {_multiples(world_size, streams)} and data.global_batch_size to a multiple of that"
        )
    share = streams // world_size
    return range(rank * share, (rank + 1) * share)


def largest_streams(shards: int, global_batch_size: int, unit: int = 1) -> int | None:
    """Return the largest number of streams, a multiple of `unit`, that divides the batch and has a shard for each.

    None if there is none, which with a unit of 1 means no shards.
    """
    most = min(shards, global_batch_size) // unit * unit
    return next((streams for streams in range(most, 0, -unit) if global_batch_size % streams == 0), None)


def batch_per_stream(global_batch_size: int, streams: int) -> int:
    """Return b = B / S. Raises JobError when the global batch cannot take equally from every stream."""
    if streams < 1:
        raise JobError(f"data.streams is {streams}: it must be 1 or more")
    if global_batch_size < 1 or global_batch_size % streams:
        raise JobError(
            f"data.global_batch_size is {global_batch_size}, which data.streams={streams} cannot share equally: "
            f"set data.global_batch_size to {_multiples(streams, global_batch_size)}, or data.streams to a divisor"
        )
    return global_batch_size // streams


def check_streams(domain: str, shards: int, streams: int) -> None:
    """Raise JobError when a domain has fewer shards than streams: every stream needs its own shard."""
    if shards < streams:
        raise JobError(
            f"{domain} has {shards} shards but data.streams is {streams}, and every stream needs a shard of "
            f"its own: set data.streams to {shards} or fewer, or write the shards again with "
            f"--shards {streams} or more"
        )


def deal(counts: Sequence[int], streams: int, key: int) -> list[np.ndarray]:
    """Deal shards of `counts` samples to streams so that every stream gets nearly equally many samples.

    Returns, for each stream, the int64 indices of its shards. Larger shards are dealt first, each to the stream with
    the fewest samples; the order of shards of equal size is drawn from `key`.
    """
    shuffled = permutation(key, len(counts))
    by_size = shuffled[np.argsort(-np.asarray(counts)[shuffled], kind="stable")]
    hands: list[list[int]] = [[] for _ in range(streams)]
    loads = [(0, stream) for stream in range(streams)]
    for shard in by_size.tolist():
        load, stream = heapq.heappop(loads)
        hands[stream].append(shard)
        heapq.heappush(loads, (load + counts[shard], stream))
    return [np.array(hand, np.int64) for hand in hands]


class DomainOrder:
    """The order of one domain's samples.

    `counts` are the samples of each shard. A sample is identified by (shard, index within the shard). Safe to call from
    several threads. Raises JobError, with values that would work, when the settings do not fit together.
    """

    def __init__(
        self,
        counts: Sequence[int],
        *,
        domain: str,
        seed: int,
        streams: int,
        global_batch_size: int,
        block_shards: int,
    ):
        check_streams(domain, len(counts), streams)
        if block_shards < 1:
            raise JobError(f"data.block_shards is {block_shards}: it must be 1 or more")
        self.batch_per_stream = batch_per_stream(global_batch_size, streams)
        self.streams = streams
        self.samples = int(sum(counts))
        self._global_batch_size = global_batch_size
        self._counts = np.asarray(counts, np.int64)
        self._key = mix(seed, "order", domain)
        self._block_shards = block_shards
        self._shards = deal(counts, streams, self._key)
        self._stream_samples = [int(self._counts[shards].sum()) for shards in self._shards]
        # A rank's threads are at most a batch or two apart: two blocks of each stream, and one in reserve.
        self._passes = _Recent(self._make_pass, 3 * streams)
        self._blocks = _Recent(self._make_block, 3 * streams)
        # by stream: the start and the content of the block used last, which contains most batches
        self._latest = [(0, np.empty(0, np.int32), np.empty(0, np.int32))] * streams

    def batch(self, step: int, streams: range) -> tuple[np.ndarray, np.ndarray]:
        """Return shards and sample indices, int32 [len(streams) * b], of global batch `step`: stream by stream."""
        b = self.batch_per_stream
        runs = [self.locate(stream, step * b, b) for stream in streams]
        return np.concatenate([shards for shards, _ in runs]), np.concatenate([samples for _, samples in runs])

    def shards(self, stream: int) -> list[int]:
        """Return all shards of a stream."""
        shards: list[int] = self._shards[stream].tolist()
        return shards

    def locate(self, stream: int, position: int, count: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Return shards and sample indices, int32 [count], at [position, position + count) of an infinite stream."""
        found = self._locate_in_block(stream, position, count)
        while (done := len(found[0])) < count:
            following = self._locate_in_block(stream, position + done, count - done)
            found = np.concatenate([found[0], following[0]]), np.concatenate([found[1], following[1]])
        return found

    def substitutes(self, stream: int, position: int) -> Iterator[tuple[int, int]]:
        """Yield the replacements for a sample that cannot be decoded: those after it in its block, then those before.

        They come from the same block, whose shards this rank has open anyway, and depend only on the position.
        """
        _, _, offset = self._find(stream, position)
        length = len(self._block_at(stream, position)[2])
        for skip in range(1, length):
            shards, samples = self.locate(stream, position - offset + (offset + skip) % length)
            yield int(shards[0]), int(samples[0])

    def block_shards_at(self, stream: int, position: int) -> tuple[tuple[int, int], list[int], list[int]]:
        """Return (pass, block) of a position, the shards of that block, and the shards of the block after it."""
        epoch, block, offset = self._find(stream, position)
        members, _, shuffled = self._block_at(stream, position)
        following = self._block_at(stream, position - offset + len(shuffled))[0]
        return (epoch, block), members.tolist(), following.tolist()

    def epoch(self, step: int) -> float:
        """Return the passes over the domain before global batch `step`: samples taken / samples of the domain."""
        return step * self._global_batch_size / self.samples

    def _locate_in_block(self, stream: int, position: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Locate as `locate` does, but only up to the end of the block of `position`."""
        first, shards, samples = self._latest[stream]
        offset = position - first
        if not 0 <= offset < len(shards):
            epoch, block, offset = self._find(stream, position)
            _, shards, samples = self._blocks.get((stream, epoch, block))
            self._latest[stream] = position - offset, shards, samples
        return shards[offset : offset + count], samples[offset : offset + count]

    def _find(self, stream: int, position: int) -> tuple[int, int, int]:
        epoch, offset = divmod(position, self._stream_samples[stream])
        starts = self._passes.get((stream, epoch))[1]
        block = bisect_right(starts, offset) - 1
        return epoch, block, offset - starts[block]

    def _block_at(self, stream: int, position: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        epoch, block, _ = self._find(stream, position)
        return self._blocks.get((stream, epoch, block))

    def _make_pass(self, name: tuple[int, int]) -> tuple[np.ndarray, list[int]]:
        """Compute the order of a stream's shards in one pass, and the position in the pass where each block starts."""
        stream, epoch = name
        shards = self._shards[stream][permutation(mix(self._key, "pass", stream, epoch), len(self._shards[stream]))]
        before = np.cumsum(self._counts[shards]) - self._counts[shards]
        return shards, before[:: self._block_shards].tolist()

    def _make_block(self, name: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compute a block: its shards int64 [m]; for its samples, in order, shards int32 [n] and indices int32 [n]."""
        stream, epoch, block = name
        first = block * self._block_shards
        members = self._passes.get((stream, epoch))[0][first : first + self._block_shards]
        counts = self._counts[members]
        ends = np.cumsum(counts)
        shuffled = permutation(mix(self._key, "block", stream, epoch, block), int(ends[-1]))
        place = np.searchsorted(ends, shuffled, side="right")
        return members, members[place].astype(np.int32), (shuffled - (ends - counts)[place]).astype(np.int32)


class _Recent(Generic[Name, Value]):
    """A cache of `make(name)` for the most recently used names. Safe to use from several threads."""

    def __init__(self, make: Callable[[Name], Value], capacity: int) -> None:
        self._make, self._capacity = make, capacity
        self._values: OrderedDict[Name, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: Name) -> Value:
        with self._lock:
            value = self._values.get(name)
            if value is not None:
                self._values.move_to_end(name)
                return value
        value = self._make(name)  # outside the lock: two threads may make the same value, which is equal anyway
        with self._lock:
            self._values[name] = value
            while len(self._values) > self._capacity:
                self._values.popitem(last=False)
        return value


def _multiples(unit: int, near: int) -> str:
    below = near // unit * unit
    return f"{below} or {below + unit}" if below else str(unit)
