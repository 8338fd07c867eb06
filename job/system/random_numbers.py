"""Random numbers without state: every number is a pure function of integers that identify its use.

A generator with state would have to be replayed to resume, and numpy may change the stream of its generators (NEP 19).
SplitMix64 (Steele et al. 2014, "Fast splittable pseudorandom number generators") over a counter needs no replay and
gives the same numbers on every machine and version.
"""

import zlib

import numpy as np

_GAMMA = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF


def splitmix64(x: np.ndarray) -> np.ndarray:
    """Apply the SplitMix64 finaliser to a uint64 array of any shape, in place (arithmetic modulo 2^64)."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def _splitmix64_of(x: int) -> int:
    """Apply the SplitMix64 finaliser to one number, without the cost of an array."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK
    return x ^ (x >> 31)


def mix(*parts: int | str) -> int:
    """Hash integers and names to one 64-bit number; the order of the parts matters."""
    state = 0
    for part in parts:
        number = zlib.crc32(part.encode()) if isinstance(part, str) else int(part)
        state = _splitmix64_of((state + _GAMMA & _MASK) ^ (number & _MASK))
    return state


def spread(indices: np.ndarray) -> np.ndarray:
    """Map indices to places, uint64 of the same shape, for `counters` and `uniform`."""
    return (indices.astype(np.uint64) + np.uint64(1)) * np.uint64(_GAMMA)


def counters(key: int, places: np.ndarray) -> np.ndarray:
    """Return the uint64 random numbers at `places` (any shape) of the sequence `key`."""
    return splitmix64(np.uint64(key) + places)


def uniform(key: int, places: np.ndarray) -> np.ndarray:
    """Return float32 random numbers in [0, 1) at `places` (any shape) of the sequence `key`."""
    numbers = counters(key, places)
    numbers >>= np.uint64(40)
    return numbers.astype(np.float32) * np.float32(2.0**-24)


def permutation(key: int, length: int) -> np.ndarray:
    """Return the permutation `key` of range(length), int64 [length]."""
    return np.argsort(counters(key, spread(np.arange(length))), kind="stable")
