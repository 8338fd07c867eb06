"""Load a model from a checkpoint folder alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from job.config.load import build_config
from job.config.schema import Config
from job.evaluation.confidence import Confidence
from job.methods.base import Method
from job.methods.build import build_method, load_weights
from job.run_folder.checkpoint import Checkpoint
from job.run_folder.remote_checkpoint import opened
from job.shards.alignment import Alignment
from job.shards.reading.augment import normalise

ADVERSARY = "adversary."  # begins the names of the domain classifier's tensors


@dataclass(frozen=True)
class Loaded:
    """The model of a checkpoint, in evaluation mode on the CPU, and the settings needed to use it."""

    model: Method
    config: Config
    class_names: tuple[str, ...]
    size: int  # px
    quality: int  # JPEG quality of the training images
    crop: str  # how images are cropped, see job.shards.writing.crop
    gray: bool  # whether images have no colour
    step: int
    alignment: Alignment | None = None  # of the faces, where `crop` is "face"
    jpeg_scaling: int = 0  # how large JPEGs are decoded, see job.shards.writing.photo
    confidence: Confidence | None = None  # calibration of the probabilities; None: not fitted for these weights
    meta: Mapping[str, Any] = field(default_factory=dict)  # all that the checkpoint holds beside its tensors

    def network_input(self, images: np.ndarray, device: torch.device) -> Tensor:
        """Normalise images uint8 [n, size, size, 3] as in training: float32 [n, 3, size, size] on `device`."""
        data = self.config.data
        return normalise(torch.from_numpy(images).to(device), data.mean, data.std, standardize=data.standardize)


def load_model(path: str | Path) -> Loaded:
    """Build the model of a checkpoint: a folder, a model on the hub, or an address in an object store.

    It may be untrusted, so permissions in its configuration (`allow_pipe`) are ignored. Raise JobError when the
    checkpoint is incomplete or cannot be fetched, or its weights do not match the network or are not finite.
    """
    with opened(path) as checkpoint:
        return build_model(checkpoint, path)


def build_model(checkpoint: Checkpoint, path: str | Path) -> Loaded:
    """Build the model of a checkpoint, as `load_model` does; `path` is what the user calls it."""
    meta = checkpoint.meta
    config = build_config(meta["config"], f"{path}/meta.json").with_pipe(False)
    model = build_method(config, meta["size"], len(meta["class_names"]), load_weights=False)
    weights = checkpoint.weights()
    if checkpoint.shared:  # a domain classifier, which a shared model lacks, takes no part in predictions
        weights |= {name: value for name, value in model.state_dict().items() if name.startswith(ADVERSARY)}
    load_weights(model, weights, str(path))
    names, size, quality = tuple(meta["class_names"]), meta["size"], meta["quality"]
    alignment = Alignment.model_validate(meta["alignment"]) if meta.get("alignment") else None
    confidence = Confidence.from_json(meta["confidence"]) if meta.get("confidence") else None
    form = (names, size, quality, meta["crop"], meta["gray"], checkpoint.step, alignment, meta["jpeg_scaling"])
    return Loaded(model.eval(), config, *form, confidence=confidence, meta=meta)
