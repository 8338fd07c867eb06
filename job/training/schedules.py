"""Lambda and the learning rate as pure functions of the global step: nothing to save, nothing to replay."""

import math

from job.config.schema import Objective, Optimizer


def progress(step: int, steps: int) -> float:
    """p of Ganin et al. 2016, sec. 5.2.2: from 0 at the first step to 1 at the end."""
    return step / steps


def lambda_at(step: int, steps: int, settings: Objective) -> float:
    """Strength of the reversed gradient: ``lambda_max * (2 / (1 + exp(-gamma p)) - 1)``, or constant."""
    if settings.lambda_schedule == "constant":
        return settings.lambda_max
    return settings.lambda_max * (2 / (1 + math.exp(-settings.gamma * progress(step, steps))) - 1)


def lr_factor_at(step: int, steps: int, settings: Optimizer) -> float:
    """Factor on every learning rate: ``1 / (1 + 10 p)^0.75`` (paper), half a cosine to 0, or 1; times a warm-up."""
    p = progress(step, steps)
    factor = {
        "paper": lambda: (1 + 10 * p) ** -0.75,
        "cosine": lambda: 0.5 * (1 + math.cos(math.pi * p)),
        "constant": lambda: 1.0,
    }[settings.schedule]()
    return factor * min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else factor
