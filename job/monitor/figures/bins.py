"""Domain predictions, counted in bins."""

import numpy as np

from job.run_folder.run_view import ROLES, RunView

BINS = np.linspace(0, 1, 21)


def histograms(run: RunView) -> dict[str, np.ndarray] | None:
    """Share of each role's samples in each of BINS, by the probability of being target; None without an adversary."""
    found = {role: run.sample.get(f"{role}_target_probability") for role in ROLES}
    if not run.adversarial or any(values is None or not len(values) for values in found.values()):
        return None
    return {role: np.histogram(values, BINS)[0] / len(values) for role, values in found.items()}
