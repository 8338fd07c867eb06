"""Adapt a model to the images that it predicts, without labels: BatchNorm statistics, or entropy minimisation."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from job.evaluation.load import Loaded
from job.methods.adabn import batch_norms, take_statistics
from job.system.errors import JobError

KINDS = ("bn", "tent")
MOST_IMAGES = 2048  # used for the adaptation, spread evenly over those to predict
LEAST_IMAGES, LEAST_PER_CLASS = 64, 10
ONE_CLASS = 0.9  # of the predictions: the images count as being of one class
_BATCH = 128
_UPDATES = 50  # the paper's number for CIFAR-10-C: 10,000 images in batches of 200
_LEARNING_RATE = 1e-3  # of Adam, as in the paper


def least_images(classes: int) -> int:
    """Return the number of images that an adaptation needs."""
    return max(LEAST_IMAGES, LEAST_PER_CLASS * classes)


def adapt(loaded: Loaded, kind: str, images: np.ndarray, device: torch.device) -> None:
    """Adapt the model on `device` to images uint8 [n, S, S, 3]; `kind` is one of KINDS.

    "bn" replaces the statistics of BatchNorm layers by those of the images (Li et al. 2016, "Revisiting Batch
    Normalization For Practical Domain Adaptation"). "tent" then also trains their scales and offsets to make the
    predictions certain (Wang et al. 2021, "Tent: Fully Test-Time Adaptation by Entropy Minimization"). Raises JobError
    when the network has no BatchNorm, there are too few images, or almost all are predicted to be of one class, before
    or after.
    """
    if not batch_norms(loaded.model.network):
        raise JobError(
            f"--adapt {kind} changes BatchNorm layers, and {loaded.config.model.backbone} has none: leave it out"
        )
    classes = len(loaded.class_names)
    least = least_images(classes)
    if len(images) < least:
        raise JobError(
            f"--adapt {kind} needs {least} images that can be read, for {classes} classes, and there are "
            f"{len(images)}: statistics of fewer are mostly chance; predict more at once, or leave it out"
        )
    _check_classes(loaded, kind, images, device, "are predicted to be")
    rows = np.random.default_rng(0).permutation(len(images))

    def batches() -> Iterator[Tensor]:
        for part in np.array_split(rows, -(-len(rows) // _BATCH)):  # equal sizes: each batch counts alike
            yield loaded.network_input(images[part], device)

    loaded.model.eval()
    take_statistics(loaded.model.network, batches())
    if kind == "tent":
        _minimise_entropy(loaded, batches)
        take_statistics(loaded.model.network, batches())
    _check_classes(loaded, kind, images, device, "would be predicted, after the adaptation, to be")


def _minimise_entropy(loaded: Loaded, batches) -> None:
    """Train scales and offsets of BatchNorm layers with the statistics of each batch (Wang et al. 2021, sec. 3)."""
    layers = batch_norms(loaded.model.network)
    affine = [parameter for layer in layers for parameter in (layer.weight, layer.bias) if parameter is not None]
    loaded.model.requires_grad_(False)
    for parameter in affine:
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(affine, _LEARNING_RATE)
    for layer in layers:
        layer.train()
    done = 0
    while done < _UPDATES:
        for images in batches():
            log_probabilities = loaded.model.predict(images).class_logits.float().log_softmax(1)
            entropy = -(log_probabilities.exp() * log_probabilities).sum(1).mean()
            optimiser.zero_grad()
            entropy.backward()
            optimiser.step()
            done += 1
            if done == _UPDATES:
                break
    loaded.model.requires_grad_(False)
    loaded.model.eval()


@torch.no_grad()
def _check_classes(loaded: Loaded, kind: str, images: np.ndarray, device: torch.device, what: str) -> None:
    """Raise JobError when almost all images are predicted to be of one class."""
    counts = np.zeros(len(loaded.class_names), int)
    for first in range(0, len(images), _BATCH):
        logits = loaded.model.predict(loaded.network_input(images[first : first + _BATCH], device)).class_logits
        counts += np.bincount(logits.argmax(1).cpu().numpy(), minlength=len(counts))
    share, name = counts.max() / counts.sum(), loaded.class_names[int(counts.argmax())]
    if len(counts) > 1 and share > ONE_CLASS:
        raise JobError(
            f"--adapt {kind}: {100 * share:.0f} % of the images {what} {name}, and an adaptation to images of one "
            "class would remove what sets it apart: predict images of all classes together, or leave it out"
        )
