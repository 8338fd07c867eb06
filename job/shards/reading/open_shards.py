"""The shards of one split that a rank has open."""

import threading
from collections.abc import Sequence

from job.shards.manifest import Manifest, ShardInfo
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.tar_index import Shard, ShardIndex, open_shard
from job.system.errors import JobError


class OpenShards:
    """Shards by their place in the manifest, mapped when first asked for; safe to use from several threads.

    At most `capacity` stay mapped. What was found in the headers is kept for good (14 bytes an image), so that the next
    pass does not look again. Without `labelled`, labels are not read even where there are some (docs/pitfalls.md). With
    it every sample must have a label, or, with `partly`, one of them: the label of the others is -1.
    """

    def __init__(
        self,
        manifest: Manifest,
        domain: str,
        split: str,
        store: ShardStore,
        *,
        labelled: bool,
        capacity: int,
        partly: bool = False,
    ):
        self.infos: Sequence[ShardInfo] = manifest.shards(domain, split)
        enough = manifest.labels(domain, split) > 0 if partly else manifest.labelled(domain, split)
        if labelled and not enough:
            raise JobError(
                f"{domain}/{split} carries no labels, but they are needed here: write the shards again "
                "with --keep-target-labels, or choose an objective that does without"
            )
        self._classes = len(manifest.class_names) if labelled else None
        self._store = store
        self._capacity = capacity
        self.mapped: dict[int, Shard] = {}  # to look into on the way that every image takes; ask [number] for others
        self._indexes: dict[int, ShardIndex] = {}
        self._lock = threading.Lock()
        self._opening: dict[int, threading.Lock] = {}

    def __getitem__(self, number: int) -> Shard:
        return self.mapped.get(number) or self._open(number)

    def _open(self, number: int) -> Shard:
        with self._lock:
            opening = self._opening.setdefault(number, threading.Lock())
        with opening:  # one thread opens it, the others wait for that one only
            shard = self.mapped.get(number)
            if shard is None:
                shard = self._map(number)
                with self._lock:
                    self._indexes[number] = shard.index
                    self.mapped[number] = shard
                    while len(self.mapped) > self._capacity:
                        # blocks follow one another, so the one opened first is done with first
                        del self.mapped[next(iter(self.mapped))]
            return shard

    def _map(self, number: int, attempts: int = 3) -> Shard:
        info = self.infos[number]
        for attempt in range(attempts):
            path = self._store.open(info)
            try:
                classes = self._classes if info.labelled else None
                return open_shard(path, info, classes, self._indexes.get(number))
            except JobError:
                if not self._store.remote:
                    raise
                if attempt == attempts - 1:
                    if path.exists():
                        raise
                    raise JobError(
                        f"{path} went out of the cache before it could be read: raise data.cache_gib, which all ranks "
                        "of a node share"
                    ) from None
                # another rank has thrown it out of a full cache between the two lines above, or it was damaged there:
                # it was whole when it came
                self._store.discard(info)
        raise AssertionError("unreachable")
