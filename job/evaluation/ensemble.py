"""Agreement of each model with the ensemble of all compared models, a score of runs that needs no target labels.

Hu et al. 2024, "Towards Reliable Model Selection for Unsupervised Domain Adaptation" (EnsV): the mean of the models'
predictions is rarely worse than the best of them and never as bad as the worst, so that the model that agrees with it
most is a safe choice. Every evaluation stores what this needs, the predictions on validation images of the target.
"""

import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from job.run_folder.stored_files import read_arrays
from job.system.files import write_atomically

log = logging.getLogger("job")
ENSEMBLE = "ensemble"  # the name of the score
FEWEST_MODELS = 3  # the mean of two models agrees with the more confident one
_PROBABILITIES = "target_probabilities"


def write_predictions(run: Path, step: int, log_probabilities: np.ndarray) -> None:
    """Store the log-probabilities [n, C] of n target images at a step. A full disk is logged as a warning."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{_PROBABILITIES: np.exp(log_probabilities).astype(np.float16)})
    path = _path(run, step)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        log.warning("cannot write %s: %s", path, error)


def read_predictions(run: Path, step: int) -> np.ndarray | None:
    """Return the stored probabilities float32 [n, C]; None if the run has none, as those of earlier versions."""
    found = read_arrays(_path(run, step)).get(_PROBABILITIES)
    return None if found is None or found.ndim != 2 else found.astype(np.float32)


def _path(run: Path, step: int) -> Path:
    return run / "evaluation" / f"step_{step:08d}_target.npz"


def agreement(groups: Mapping[str, Sequence[np.ndarray | None]]) -> dict[str, list[float]]:
    """Return for each model the share of images, in [0, 1], that it predicts as the ensemble does, by group.

    A group holds the probabilities [n, C] of models of one method, for the same images in the same order. The ensemble
    is the mean over the groups of their mean probabilities, so that a method does not count more with more models.
    The result is empty with fewer than FEWEST_MODELS models, or if one has no predictions or has other images.
    """
    known = {name: [model for model in models if model is not None] for name, models in groups.items()}
    count = sum(map(len, known.values()))
    shapes = {model.shape for models in known.values() for model in models}
    if count < max(FEWEST_MODELS, sum(map(len, groups.values()))) or len(shapes) > 1 or 0 in next(iter(shapes)):
        return {}
    means = [np.mean(np.stack(models), axis=0, dtype=np.float64) for models in known.values() if models]
    says = np.mean(means, axis=0).argmax(1)
    return {name: [float((model.argmax(1) == says).mean()) for model in models] for name, models in known.items()}


def agreement_in_order(models: Sequence[tuple[str, np.ndarray | None]]) -> list[float]:
    """Return the agreement of each model, given with the name of its method, in their order; [] as `agreement`."""
    groups: dict[str, list[np.ndarray | None]] = {}
    for method, predictions in models:
        groups.setdefault(method, []).append(predictions)
    found = {method: iter(values) for method, values in agreement(groups).items()}
    return [next(found[method]) for method, _ in models] if found else []
