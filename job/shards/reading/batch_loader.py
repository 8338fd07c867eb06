"""Load batches ahead of time: threads fill a ring of buffers, the consumer receives them strictly in step order.

Threads, not processes: the JPEG decoder and the copies release the interpreter's lock, and nothing has to be pickled.
Each thread fills a whole batch, so that threads hardly ever wait for each other.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from job.shards.reading.augment_draws import draw_at, places
from job.shards.reading.domain_stream import DomainStream

_OFF_GRID = 8  # bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """One rank's share of global batch `step`, on the device: the rows of the first stream, then those of the second.

    images uint8 [n, H, W, 3], labels int64 [n] (-1: none), draws float32 [n, K] in [0, 1) for augmentation.
    """

    step: int
    images: torch.Tensor
    labels: torch.Tensor
    draws: torch.Tensor


class _Slot:
    """Buffers of one batch; pinned if the batch is copied to a CUDA device."""

    def __init__(self, rows: int, size: int, draws: int, pinned: bool):
        # Not aligned to 32 bytes: to aligned rows libjpeg-turbo writes past the cache, which takes a fifth more time.
        held = torch.empty(_OFF_GRID + rows * size * size * 3, dtype=torch.uint8, pin_memory=pinned)
        self.images = held[_OFF_GRID:].view(rows, size, size, 3)
        self.labels = torch.empty(rows, dtype=torch.int64, pin_memory=pinned)
        self.draws = torch.empty((rows, draws), dtype=torch.float32, pin_memory=pinned)
        self.arrays = self.images.numpy(), self.labels.numpy(), self.draws.numpy()
        self.copied: torch.cuda.Event | None = None


class BatchLoader:
    """Iterates once over the batches of steps [start_step, stop_step) (stop_step None: without end).

    On a CPU a batch is valid until the next but one is requested; on CUDA while it is referenced. Errors of the
    streams are raised by the iteration, at their step. Close it, or use it as a context manager.

    The thread that filled a batch calls `on_host` with it, before the batch is copied to the device.

    The attribute `wait_seconds` is the time that the consumer has waited for batches since the start; `skipped` is the
    number of images that could not be decoded and were replaced, plus the argument `skipped`.
    """

    def __init__(
        self,
        streams: Sequence[DomainStream],
        *,
        seed: int,
        start_step: int = 0,
        stop_step: int | None = None,
        threads: int = 2,
        prefetch: int = 4,
        device: torch.device | str = "cpu",
        draws: int = 16,
        on_host: Callable[[Batch], Batch] | None = None,
        skipped: int = 0,
    ):
        self.wait_seconds = 0.0
        self.skipped = skipped
        self._streams = tuple(streams)
        self._on_host = on_host
        self._places = [places(stream.slots, draws) for stream in self._streams]
        self._seed = seed
        self._device = torch.device(device)
        self._cuda = self._device.type == "cuda"
        if self._cuda and self._device.index is None:
            self._device = torch.device("cuda", torch.cuda.current_device())
        self._copying = torch.cuda.Stream(self._device) if self._cuda else None
        self._steps = itertools.count(start_step) if stop_step is None else iter(range(start_step, stop_step))
        # a new thread uses GPU 0, not that of its rank, and would open a context of half a GiB there
        at: dict[str, Any] = {"initializer": torch.cuda.set_device, "initargs": (self._device,)} if self._cuda else {}
        self._pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="batch", **at)
        self._pending: deque[tuple[_Slot, Future[tuple[Batch, int]]]] = deque()
        self._lent: deque[_Slot] = deque()
        self._closed = False
        rows = sum(stream.local_batch_size for stream in self._streams)
        kept = 0 if self._cuda else 2  # the batch in use and the one before it must not change
        for _ in range(max(1, prefetch) + kept):
            self._submit(_Slot(rows, self._streams[0].size, draws, self._cuda))

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if len(self._lent) == 2:
            self._submit(self._lent.popleft())
        if self._closed or not self._pending:
            raise StopIteration
        slot, future = self._pending.popleft()
        began = time.perf_counter()
        try:
            batch, skipped = future.result()
        except BaseException:
            self.close()
            raise
        self.wait_seconds += time.perf_counter() - began
        self.skipped += skipped
        if slot.copied is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(slot.copied)
            for tensor in (batch.images, batch.labels, batch.draws):
                tensor.record_stream(current)  # its memory came from the copying stream's pool
            self._submit(slot)
        else:
            self._lent.append(slot)
        return batch

    def close(self) -> None:
        """Stop the threads after their current batches. Can be called twice."""
        self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()

    def __enter__(self) -> "BatchLoader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _submit(self, slot: _Slot) -> None:
        step = None if self._closed else next(self._steps, None)
        if step is not None:
            self._pending.append((slot, self._pool.submit(self._fill, slot, step)))

    def _fill(self, slot: _Slot, step: int) -> tuple[Batch, int]:
        """Fill the buffers of `slot` with the batch of a step, and copy it to a CUDA device. Runs in a thread."""
        if slot.copied is not None:
            slot.copied.synchronize()  # the copy of the buffers to the device may not be finished
        images, labels, draws = slot.arrays
        first = skipped = 0
        for stream, at in zip(self._streams, self._places):
            if self._closed:
                break
            rows = slice(first, first + stream.local_batch_size)
            skipped += stream.fill(step, images[rows], labels[rows])
            draws[rows] = draw_at(self._seed, step, stream.domain, at)
            first = rows.stop
        return self._to_device(slot, step), skipped

    def _to_device(self, slot: _Slot, step: int) -> Batch:
        batch = Batch(step, slot.images, slot.labels, slot.draws)
        if self._on_host is not None:
            batch = self._on_host(batch)
        if not self._cuda:
            return batch
        with torch.cuda.stream(self._copying):
            copies = (t.to(self._device, non_blocking=True) for t in (batch.images, batch.labels, batch.draws))
            batch = Batch(step, *copies)
            slot.copied = torch.cuda.Event()
            slot.copied.record(self._copying)
        return batch
