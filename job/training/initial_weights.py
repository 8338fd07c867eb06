"""Initialise a network from a checkpoint of this project: fine-tuning, and adaptation without the source."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from job.config.load import build_config
from job.config.normalisation import normalisation_of
from job.config.schema import Config
from job.methods.base import Method
from job.methods.build import renamed
from job.models.build import HEADS, is_checkpoint_path
from job.models.check_state import check_state
from job.models.weights import load_state
from job.run_folder.checkpoint import Checkpoint, read_checkpoint
from job.run_folder.checkpoint_meta import WEIGHTS
from job.run_folder.pointers import BEST
from job.system.errors import JobError

log = logging.getLogger("job")
_SHAPES = ("backbone", "bottleneck", "label_hidden", "dropout", "batch_norm")  # keys that name the network's layers


def load_initial_weights(method: Method, config: Config, class_names: Sequence[str]) -> None:
    """Load `model.weights` into a new method, if it names a checkpoint of this project.

    The feature extractor is loaded, and so is the label predictor if the checkpoint has the same classes. Raises
    JobError for a path that is not a complete checkpoint, weights of another network, and a method that needs a trained
    label predictor and does not get one.
    """
    weights = config.model.weights
    where = f"model.weights={weights}"
    if is_checkpoint_path(weights):
        checkpoint = _open(weights)
        has_same_classes = tuple(checkpoint.meta["class_names"]) == tuple(class_names)
        if method.needs_trained_predictor and not has_same_classes:
            raise JobError(
                f"objective.name={config.objective.name} keeps the label predictor of {where}, which was trained on "
                "other classes than those of the shards: choose a checkpoint with the same classes"
            )
        _load(method, checkpoint, config, where, with_predictor=has_same_classes)
        _report(checkpoint, config, weights, with_predictor=has_same_classes)
    elif method.needs_trained_predictor:
        raise _no_start(config)
    elif weights != "none" and config.model.backbone in HEADS:
        raise JobError(
            f"no checkpoint at {where}: give a folder such as runs/NAME/checkpoints/best (published weights exist only "
            f"for the backbones of torchvision and timm and for iresnet, not for {config.model.backbone})"
        )
    elif weights != "none":
        _warn_of_normalisation(weights, normalisation_of(config.model.backbone), config)


def check_start(method: Method, config: Config) -> None:
    """Raise JobError for a method that needs a trained label predictor and a configuration that names no weights.

    Weights that it names may be gone when a run resumes, which does not need them.
    """
    if method.needs_trained_predictor and config.model.weights == "none":
        raise _no_start(config)


def _no_start(config: Config) -> JobError:
    return JobError(
        f"objective.name={config.objective.name} starts from a trained network and model.weights="
        f"{config.model.weights} is not a checkpoint: set model.weights=runs/NAME/checkpoints/best, of a run of "
        "source_only for instance"
    )


def _open(weights: str) -> Checkpoint:
    """Open a checkpoint folder, the best checkpoint of a run folder, or the checkpoint that a file belongs to."""
    path = Path(weights)
    if path.name == WEIGHTS:
        path = path.parent
    elif os.path.isdir(path / "checkpoints"):
        path = path / "checkpoints" / BEST
    try:
        return read_checkpoint(path)
    except JobError as error:
        raise JobError(f"model.weights={weights}: {error}") from None


def _load(method: Method, checkpoint: Checkpoint, config: Config, where: str, *, with_predictor: bool) -> None:
    named = renamed(checkpoint.weights())
    network = method.network
    parts = {"feature_extractor": network.feature_extractor}
    if with_predictor:
        parts["label_predictor"] = network.label_predictor
    states = {name: _below(named, f"network.{name}.") for name in parts}
    try:
        for name, part in parts.items():
            check_state(part, states[name], f"{where} ({name})")
    except JobError as error:
        raise _other_network(checkpoint, config, where) or error from None
    for name, part in parts.items():
        load_state(part, states[name])


def _below(named: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}


def _other_network(checkpoint: Checkpoint, config: Config, where: str) -> JobError | None:
    """Return an error that names the setting in which the networks differ; None if they are equal."""
    trained = build_config(checkpoint.meta["config"], f"{checkpoint.path}/meta.json").model
    for key in _SHAPES:
        theirs, ours = getattr(trained, key), getattr(config.model, key)
        if theirs != ours:
            shown = "null" if theirs is None else theirs
            return JobError(
                f"{where} was trained with model.{key}={shown}, and this configuration has {ours}: set "
                f"model.{key}={shown}, or choose another checkpoint"
            )
    return None


def _report(checkpoint: Checkpoint, config: Config, weights: str, *, with_predictor: bool) -> None:
    """Log which weights were loaded, and a warning if images were normalised in another way."""
    digest = checkpoint.meta.get("sha256", {}).get(WEIGHTS, "unknown")
    predictor = "and label predictor" if with_predictor else "only: the classes differ and the label predictor is new"
    log.info("feature extractor %s from %s, step %d, sha256 %s", predictor, checkpoint.path, checkpoint.step, digest)
    trained = build_config(checkpoint.meta["config"], f"{checkpoint.path}/meta.json").data
    _warn_of_normalisation(weights, {"mean": trained.mean, "std": trained.std}, config)


def _warn_of_normalisation(weights: str, trained: dict[str, tuple[float, float, float]], config: Config) -> None:
    for key, value in trained.items():
        if value != getattr(config.data, key):
            log.warning("%s was trained with data.%s=%s", weights, key, list(value))
