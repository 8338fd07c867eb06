"""The bare JPEG decoder: the limit of any loader that decodes with it, in one thread or in several.

Its speed depends on the buffer that it decodes into. libjpeg-turbo writes rows that are aligned to 32 bytes past the
cache, which takes a fifth more time on some processors and may take less on others; a buffer of one image stays in the
cache, one as large as the loader's ring does not. So the limit is the fastest of all these buffers, each allocated once
and filled before it is measured, and the JPEGs are in memory in the order in which the loader reads them.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import simplejpeg

LEAST_NOISE = 0.02  # of a rate: shared caches and clocks change from turn to turn


class Buffers(NamedTuple):
    """Rows [n] of uint8 [size, size, 3], one after another, that begin `offset` bytes after a multiple of 64."""

    name: str
    rows: list[np.ndarray]


def make_buffers(size: int, batch: int, ring: int) -> list[Buffers]:
    """Return the buffers in which the decoder is measured: one image, a batch, and `ring` batches like the loader's."""
    return [
        Buffers(f"{name}, {'aligned' if offset == 0 else 'not aligned'}", _rows(count, size, offset))
        for name, count in (("one image", 1), ("a batch", batch), ("a ring", ring * batch))
        for offset in (0, 8)
    ]


def _rows(count: int, size: int, offset: int) -> list[np.ndarray]:
    length = count * size * size * 3
    held = np.zeros(length + 64 + offset, np.uint8)
    first = -held.ctypes.data % 64 + offset
    return list(held[first : first + length].reshape(count, size, size, 3))


def decode_all(jpegs: Iterable[bytes], rows: Sequence[np.ndarray]) -> int:
    """Decode every JPEG with the settings of `job.shards.reading.decode`; return how many they are."""
    count, number = len(rows), -1
    for number, jpeg in enumerate(jpegs):
        simplejpeg.decode_jpeg(jpeg, "RGB", buffer=rows[number % count])
    return number + 1


def decode_in_threads(jpegs: Sequence[bytes], size: int, threads: int) -> int:
    """Decode every JPEG once, an equal part in each thread; return how many they are."""
    parts = [jpegs[number::threads] for number in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda part: decode_all(part, _rows(1, size, 8)), parts))


def measure(work: Callable[[], int]) -> tuple[float, float]:
    """Return images per second of processor time, and of wall time."""
    wall, cpu = time.perf_counter(), time.process_time()
    images = work()
    return images / (time.process_time() - cpu), images / (time.perf_counter() - wall)


def noise_of(limits: Sequence[float]) -> float:
    """Return the noise of the measured limits, as a share: the middle half of the turns lies within this range."""
    if len(limits) < 4:
        return LEAST_NOISE
    low, middle, high = statistics.quantiles(limits, n=4)
    return max(LEAST_NOISE, (high - low) / middle)


def above_limit(shares: dict[str, float], noise: float) -> list[str]:
    """Return the names whose share of the limit is above 1 by more than noise: then the limit is not one."""
    return [name for name, share in shares.items() if share > 1 + noise]
