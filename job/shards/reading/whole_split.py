"""Read every sample of a split exactly once, over all ranks, for exact evaluation."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from job.shards.manifest import Manifest
from job.shards.reading.decode import decode_or_fail
from job.shards.reading.open_shards import OpenShards
from job.shards.reading.shard_cache import ShardStore

Rows = tuple[torch.Tensor, torch.Tensor, list[str]]  # images, labels, keys of a batch


def read_split(
    manifest: Manifest,
    store: ShardStore,
    domain: str,
    split: str,
    *,
    labelled: bool,
    rank: int = 0,
    world_size: int = 1,
    rows: range | None = None,
    batch_size: int = 256,
    threads: int = 2,
) -> Iterator[Rows]:
    """Yield (images uint8 [b, H, W, 3], labels int64 [b], keys [b]) of the rank's share, in the order of the shards.

    Of N samples, rank r of W reads those in [N r // W, N (r + 1) // W), so the shares differ by one at most and may be
    empty; with `rows`, a range of step 1, it reads those positions of the split instead. The label of a sample without
    one is -1; without `labelled`, every label is -1. Raises JobError at once when labels are requested and no sample
    has one, and later for an image that cannot be decoded: nothing is skipped.
    """
    shards = OpenShards(manifest, domain, split, store, labelled=labelled, capacity=2 * threads + 2, partly=True)
    ends = np.cumsum(manifest.table(domain, split).samples)
    share = range(int(ends[-1]) * rank // world_size, int(ends[-1]) * (rank + 1) // world_size)
    first, end = (share.start, share.stop) if rows is None else (rows.start, rows.stop)
    return _batches(shards, store, ends, range(first, end, batch_size), end, manifest.size, threads)


def _batches(
    shards: OpenShards, store: ShardStore, ends: np.ndarray, starts: range, end: int, size: int, threads: int
) -> Iterator[Rows]:
    pool = ThreadPoolExecutor(threads, thread_name_prefix="split")
    ahead: deque[Future[Rows]] = deque()
    try:
        for start in starts:
            stop = min(start + starts.step, end)
            if store.remote:
                last = int(np.searchsorted(ends, stop - 1, side="right"))
                store.prefetch(shards.infos[last : last + 2])
            ahead.append(pool.submit(_read, shards, ends, start, stop, size))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read(shards: OpenShards, ends: np.ndarray, start: int, stop: int, size: int) -> Rows:
    """Read the samples [start, stop) of the split, counted over all its shards."""
    images = np.empty((stop - start, size, size, 3), np.uint8)
    labels = np.empty(stop - start, np.int64)
    keys = []
    numbers = np.searchsorted(ends, np.arange(start, stop), side="right").tolist()
    for row, number in enumerate(numbers):
        i = start + row - (int(ends[number - 1]) if number else 0)
        shard = shards[number]
        decode_or_fail(shard, i, images[row])
        labels[row] = shard.index.labels[i]
        keys.append(shard.key(i))
    return torch.from_numpy(images), torch.from_numpy(labels), keys
