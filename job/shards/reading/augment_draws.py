"""Draw random numbers for augmentation: pure functions of seed, step, domain and slot, equal on any ranks or device."""

import numpy as np

from job.system.random_numbers import mix, spread, uniform

MOST = 1024  # draws reserved for each sample, so that its numbers do not depend on how many are used


def draw(seed: int, step: int, domain: str, slots: np.ndarray, count: int) -> np.ndarray:
    """Draw float32 [len(slots), count] in [0, 1): `count` numbers for each slot (int64) of global batch `step`."""
    return draw_at(seed, step, domain, places(slots, count))


def draw_at(seed: int, step: int, domain: str, at: np.ndarray) -> np.ndarray:
    """Draw the numbers at `places(slots, count)`, which are equal for all steps and can be computed once."""
    return uniform(mix(seed, "draws", domain, step), at)


def places(slots: np.ndarray, count: int) -> np.ndarray:
    """Compute the positions of the slots' draws in the sequence of a step, uint64 [len(slots), count]."""
    if not 0 < count <= MOST:
        raise ValueError(f"{count} draws per sample: from 1 to {MOST} can be taken")
    return spread(slots[:, None] * MOST + np.arange(count))
