"""Random numbers for augmentation: a pure function of what they are for, hence equal on any ranks and any device."""

import numpy as np

from job.system.random_numbers import mix, spread, uniform

MOST = 1024  # draws per sample, so that a sample's numbers do not depend on how many are taken


def draw(seed: int, step: int, domain: str, slots: np.ndarray, count: int) -> np.ndarray:
    """float32 [len(slots), count] in [0, 1): `count` numbers for each slot (int64) of global batch `step`."""
    return draw_at(seed, step, domain, places(slots, count))


def draw_at(seed: int, step: int, domain: str, at: np.ndarray) -> np.ndarray:
    """The same at `places(slots, count)`, which do not change from step to step."""
    return uniform(mix(seed, "draws", domain, step), at)


def places(slots: np.ndarray, count: int) -> np.ndarray:
    """Where the draws of the slots lie in every step's sequence, uint64 [len(slots), count]."""
    if not 0 < count <= MOST:
        raise ValueError(f"{count} draws per sample: from 1 to {MOST} can be taken")
    return spread(slots[:, None] * MOST + np.arange(count))
