"""Read one rank's samples of one domain for every global batch."""

import threading

import numpy as np

from job.shards.manifest import Manifest
from job.shards.reading.decode import decode_into
from job.shards.reading.image_memory import DecodedImages
from job.shards.reading.open_shards import OpenShards
from job.shards.reading.order import DomainOrder, rank_streams
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.tar_index import Shard
from job.system.errors import JobError


class DomainStream:
    """Reads one rank's samples of one domain, for any global batch; safe to use from several threads.

    Labels are read only if `labelled`; otherwise every label is -1. An image that cannot be decoded is an error; with
    on_bad_image="skip" the next image of its block replaces it, equal on any number of ranks, at most `max_skipped`
    times (None: without limit) in this process.

    `decoded` keeps decoded images for later passes; streams of several domains may share it.

    `slots` (int64 [b]) are the positions of this rank's samples within the global batch: s * B/S + j for sample j of
    stream s. Raises JobError for settings that do not fit together, and when labels are required but missing.
    """

    def __init__(
        self,
        manifest: Manifest,
        domain: str,
        store: ShardStore,
        *,
        split: str = "train",
        labelled: bool,
        seed: int,
        streams: int,
        global_batch_size: int,
        block_shards: int = 4,
        rank: int = 0,
        world_size: int = 1,
        on_bad_image: str = "error",
        max_skipped: int | None = None,
        decoded: DecodedImages | None = None,
    ):
        counts = manifest.table(domain, split).samples.tolist()
        self._streams = rank_streams(streams, rank, world_size)
        self._order = DomainOrder(
            counts,
            domain=domain,
            seed=seed,
            streams=streams,
            global_batch_size=global_batch_size,
            block_shards=block_shards,
        )
        per_stream = self._order.batch_per_stream
        # for every stream its current block, and the block before or after it, which other threads may be reading
        capacity = max(16, 2 * len(self._streams) * block_shards)
        self._shards = OpenShards(manifest, domain, split, store, labelled=labelled, capacity=capacity)
        self._store = store
        own = {shard: counts[shard] for stream in self._streams for shard in self._order.shards(stream)}
        self._decoded = (decoded or DecodedImages(0)).make_room(own, len(counts), manifest.size)
        self._max_skipped = max_skipped if on_bad_image == "skip" else 0
        self._skipped = 0
        self._announced: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()

        self.domain, self.split, self.labelled = domain, split, labelled
        self.size = manifest.size
        self.samples = self._order.samples
        self.global_batch_size = global_batch_size
        self.local_batch_size = per_stream * len(self._streams)
        self.slots = np.arange(self._streams.start * per_stream, self._streams.stop * per_stream, dtype=np.int64)

    def epoch(self, step: int) -> float:
        """Return the passes over the domain before global batch `step`, over all ranks."""
        return self._order.epoch(step)

    def keys(self, step: int) -> list[str]:
        """Return the keys [b] of this rank's samples of global batch `step`, before any substitution."""
        shards, samples = self._order.batch(step, self._streams)
        return [self._shards[shard].key(i) for shard, i in zip(shards.tolist(), samples.tolist())]

    def fill(self, step: int, images: np.ndarray, labels: np.ndarray) -> int:
        """Decode this rank's samples of global batch `step` into uint8 [b, H, W, 3] and int64 [b].

        Returns how many images were skipped. Raises JobError, naming shard and key, when a sample cannot be read.
        """
        if self._store.remote:
            self._announce(step)
        shards, samples = self._order.batch(step, self._streams)
        missing = self._decoded.take(shards, samples, images, labels)
        if not missing:
            return 0
        numbers, places = shards.tolist(), samples.tolist()
        self._shards.open_all(numbers[row] for row in missing)
        return sum(self._decode(step, row, numbers[row], places[row], images[row], labels) for row in missing)

    def _decode(self, step: int, row: int, number: int, i: int, image: np.ndarray, labels: np.ndarray) -> int:
        """Decode sample i of a shard into a row, and keep it. Returns 1 when another sample replaced it, else 0."""
        shard, substituted = self._shards.open.get(number) or self._shards[number], 0
        try:
            decode_into(shard.jpeg(i), image)
        except ValueError as error:
            shard, i = self._substitute(step, row, image, shard, i, error)
            substituted = 1
        labels[row] = label = shard.index.labels.item(i)
        if self._decoded.room and not substituted:
            self._decoded.keep(number, i, image, label)
        return substituted

    def _substitute(
        self, step: int, row: int, image: np.ndarray, bad: Shard, i: int, error: ValueError
    ) -> tuple[Shard, int]:
        """Decode the next readable sample of the block into `image`; return its shard and its index there."""
        problem = f"shard {bad.path}: {bad.key(i)} cannot be decoded ({error})"
        if self._max_skipped == 0:
            raise JobError(f"{problem}: write the shards again, or set data.on_bad_image=skip")
        with self._lock:
            self._skipped += 1
            if self._max_skipped is not None and self._skipped > self._max_skipped:
                raise JobError(f"{problem}, and {self._max_skipped} have been skipped already: write the shards again")
        per_stream = self._order.batch_per_stream
        stream, item = self._streams[row // per_stream], row % per_stream
        for number, j in self._order.substitutes(stream, step * per_stream + item):
            shard = self._shards[number]
            try:
                decode_into(shard.jpeg(j), image)
            except ValueError:
                continue
            return shard, j
        raise JobError(f"{problem}, nor can any other image of its block: write the shards again")

    def _announce(self, step: int) -> None:
        """Prefetch the shards of the current block, then those of the next one, whenever a stream enters a block."""
        now, later = [], []
        for stream in self._streams:
            position = step * self._order.batch_per_stream
            block, current, following = self._order.block_shards_at(stream, position)
            if self._announced.get(stream) != block:
                self._announced[stream] = block
                now += current
                later += following
        self._store.prefetch(self._shards.infos[number] for number in now + later)
