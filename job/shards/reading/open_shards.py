"""Keep the shards of one split open that a rank reads."""

import errno
import logging
import resource
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from job.shards.manifest import Manifest, ShardInfo
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.shard_file import Identity, ShardFile
from job.shards.reading.tar_index import Shard, ShardIndex, open_file, read_index
from job.system.errors import JobError

_ATTEMPTS = 3  # to open a cached shard, which other ranks may evict at any time

log = logging.getLogger(__name__)


class OpenShards:
    """Shards by their number in the manifest, opened on first use; safe to use from several threads.

    At most `capacity` stay open, fewer if the system limits open files. The index of a shard is kept after it is closed
    (14 bytes an image), so that the next pass does not read the headers again. Without `labelled`, labels are not read
    even if the shards have them (docs/pitfalls.md). With it every sample must have a label or, with `partly`, at least
    one sample: the label of the others is -1. The store decides whether a shard's sha256 is checked on first use.
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
        self._capacity = min(capacity, _most_open())
        self.open: dict[int, Shard] = {}  # a fast look-up for every image; [number] also opens closed shards
        self._indexes: dict[int, tuple[Identity, ShardIndex]] = {}
        self._lock = threading.Lock()
        self._opening: dict[int, threading.Lock] = {}

    def __getitem__(self, number: int) -> Shard:
        return self.open.get(number) or self._open(number)

    def open_all(self, numbers: Iterable[int]) -> None:
        """Open shards together with other threads that need them: no thread waits while there are shards to open.

        A run that starts or resumes must read one whole block of shards for each stream; all its threads share that.
        """
        closed = [number for number in dict.fromkeys(numbers) if number not in self.open]
        if len(closed) > self._capacity:
            return  # the first ones would be closed again before their use
        for number in closed:
            if (opening := self._lock_of(number)).acquire(blocking=False):
                try:
                    self._open_locked(number)
                finally:
                    opening.release()

    def _open(self, number: int) -> Shard:
        with self._lock_of(number):  # one thread opens the shard, others that need it wait
            return self._open_locked(number)

    def _lock_of(self, number: int) -> threading.Lock:
        with self._lock:
            return self._opening.setdefault(number, threading.Lock())

    def _open_locked(self, number: int) -> Shard:
        shard = self.open.get(number)
        if shard is None:
            shard = self._find(number)
            with self._lock:
                self.open[number] = shard
                self._keep(self._capacity)
        return shard

    def _find(self, number: int) -> Shard:
        """Open a shard; fetch a remote one again if its cached copy is damaged or was deleted."""
        info, fetched_again = self.infos[number], False
        for _ in range(_ATTEMPTS):
            path = self._store.open(info)
            try:
                return self._read(number, path)
            except JobError:
                if not self._store.remote:
                    raise
                if path.exists():
                    if fetched_again:
                        raise
                    fetched_again = True
                    log.warning("the cached copy of %s is damaged or was changed: fetching it again", info.path)
                self._store.discard(info)
        raise JobError(
            f"{path} went out of the cache before it could be read: raise data.cache_gib, which all ranks of a node "
            "share"
        )

    def _read(self, number: int, path: Path) -> Shard:
        """Return the shard at a path. Its index is read again, and verified, only when the file has changed."""
        info = self.infos[number]
        file = self._open_file(path, info)
        known = self._indexes.get(number)
        verified = self._store.is_verified(info, file.identity)
        if known is None or known[0] != file.identity or not verified:
            classes = self._classes if info.labelled else None
            known = file.identity, read_index(file, info, classes, verify=not verified)
            self._store.mark_verified(info, file.identity)
            self._indexes[number] = known
        return Shard(file, known[1])

    def _open_file(self, path: Path, info: ShardInfo) -> ShardFile:
        while True:
            try:
                return open_file(path, info)
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE) or not self.open:
                    raise JobError(
                        f"cannot open shard {path} ({error.strerror}): check it and its permissions"
                    ) from None
                with self._lock:
                    self._keep(len(self.open) // 2)

    def _keep(self, count: int) -> None:
        while len(self.open) > count:
            # blocks are read in order, so the shard opened first is finished first
            del self.open[next(iter(self.open))]


def _most_open() -> int:
    """Return how many shards of one split may be open: a quarter of this process's limit on open files."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else max(1, limit // 4)
