"""Compute schedules as pure functions of the global step: they need no state in a checkpoint and no replay."""

import math

from job.config.schema import Optimizer


def progress(step: int, steps: int) -> float:
    """Compute the progress p of Ganin et al. 2016, sec. 5.2.2: from 0 at the first step to 1 at the end."""
    return step / steps


def lr_factor_at(step: int, steps: int, settings: Optimizer) -> float:
    """Compute the factor on learning rates: ``1 / (1 + 10 p)^0.75``, half a cosine to 0, or 1; times the warm-up."""
    p = progress(step, steps)
    factor = 1.0
    if settings.schedule == "paper":
        factor = math.pow(1 + 10 * p, -0.75)
    elif settings.schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * p))
    return factor * min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else factor
