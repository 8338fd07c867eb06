"""The configuration: every key, its default, its limits and its description. `job/config/load.py` reads it.

The sections are in files beside this one. `job/config/document.py` generates docs/configuration.md from them.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from job.config.data import Augment, Data
from job.config.method_settings import MethodSettings
from job.config.model import Model
from job.config.monitoring import Evaluation, Wandb
from job.config.normalisation import with_normalisation
from job.config.objectives import SETTINGS, DANNSettings, Objective, complete
from job.config.section import Harmless, New, Section, stored_decisive
from job.config.training import Optimizer, Selection, Train
from job.system.secrets import scrub_all
from job.vocabulary import TARGET

__all__ = ["Augment", "Config", "Data", "Evaluation", "Model", "Objective", "Optimizer", "Section", "Selection"]
__all__ += ["Train", "Wandb", "mirror_below", "score_of", "stored_recipe"]
LONGEST_NAME = 200  # bytes; file systems allow 255, and temporary names are a little longer


def stored_recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a stored configuration that decide the result of a run, beside seed and shards.

    They are those that decide the weights, and when, by which score and on how many samples a checkpoint is chosen. The
    configuration may be one of an older version: keys that are newer than version 0.1 are left out while they have
    their default.
    """
    objective = complete(config["objective"])
    sections: dict[str, type[Section]] = {"model": Model, "optimizer": Optimizer, "train": Train, "data": Data}
    recipe = {name: stored_decisive(section, config.get(name) or {}) for name, section in sections.items()}
    recipe["objective"] = stored_decisive(SETTINGS.get(objective["name"], MethodSettings), objective)
    recipe["train"] |= {key: value for key, value in (config.get("train") or {}).items() if key == "eval_every"}
    evaluation = {key: value for key, value in (config.get("evaluation") or {}).items() if key == "probe_samples"}
    return recipe | {"evaluation": evaluation, "selection": {"score": score_of(config)}}


def score_of(config: Mapping[str, Any]) -> str:
    """Return the model-selection score in force, of a configuration as stored in a run folder."""
    return (config.get("selection") or {}).get("score") or SETTINGS.get(
        config["objective"]["name"], MethodSettings
    ).score


def mirror_below(mirror: str | None, *names: str) -> str | None:
    """Return the address of a run, or of a folder of runs, below a mirror; None without a mirror."""
    return None if mirror is None else "/".join([mirror.rstrip("/"), *names])


class Config(Section):
    """The whole configuration."""

    name: Harmless[Annotated[str, Field(min_length=1)]] = "run"
    """The run folder is OUTPUT/NAME. Without it, `train` takes the name of the configuration file without `.yaml`."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of initial weights, data order, augmentation and dropout."""
    output: Harmless[str] = "runs"
    """Folder of the run folders."""
    mirror: New[Harmless[str | None]] = None
    """Address of an object store (s3://BUCKET/FOLDER, gs://, az://), to which the run is copied as MIRROR/NAME while it
    trains; if its run folder is gone, it resumes from there. null: none."""
    protocol: New[Literal["held_out", "transductive"]] = "held_out"
    """held_out: the target is tested on images that are not trained on. transductive: the network is adapted to the
    same target images that are then tested, without their labels (docs/small_data.md)."""
    data: Data = Data()
    """Shards and how to read them."""
    model: Model = Model()
    """The network."""
    objective: Objective = DANNSettings()
    """The method and its loss."""
    optimizer: Optimizer = Optimizer()
    """The optimiser."""
    train: Train = Train()
    """Length and intervals of training."""
    evaluation: Harmless[Evaluation] = Evaluation()
    """Evaluations and figures."""
    selection: Harmless[Selection] = Selection()
    """Selection of the checkpoint. No weight depends on it, but it is fixed: scores of a run must be comparable."""
    wandb: Harmless[Wandb] = Wandb()
    """Weights & Biases."""

    @model_validator(mode="before")
    @classmethod
    def _normalised_as_its_weights(cls, content: Any) -> Any:
        return with_normalisation(content) if isinstance(content, dict) else content

    @field_validator("objective", mode="before")
    @classmethod
    def _complete(cls, objective: Any) -> Any:
        return complete(objective)

    @field_validator("name")
    @classmethod
    def _plain_folder_name(cls, name: str) -> str:
        if "/" in name or name in (".", ".."):
            raise ValueError("is a folder name: it must have no slash (the folder above it is `output`)")
        if len(name.encode()) > LONGEST_NAME:
            raise ValueError(f"is too long for a folder name: at most {LONGEST_NAME} bytes")
        if "\n" in name or "\t" in name or name != name.strip():
            raise ValueError("is a folder name: it must have no line breaks, no tabs, and no blanks around it")
        return name

    @field_validator("output")
    @classmethod
    def _local(cls, output: str) -> str:
        if re.match(r"[a-z][a-z0-9+.-]+://", output):
            raise ValueError(f"is a folder: to copy the runs to a store, add mirror={output}")
        return output

    @field_validator("mirror")
    @classmethod
    def _store(cls, mirror: str | None) -> str | None:
        if mirror is not None and not re.match(r"(s3|gs|az)://[^/]", mirror):
            raise ValueError("is the address of an object store: s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or az://...")
        return mirror

    @model_validator(mode="after")
    def _score_fits_objective(self) -> "Config":
        supervised = self.objective.labelled == TARGET
        if self.selection.score is not None and (self.selection.score == "target_accuracy") != supervised:
            raise ValueError(
                f"selection.score={self.selection.score} cannot be used with objective.name={self.objective.name}: "
                "target labels select the checkpoint of train_on_target, and of no other method"
            )
        return self

    @model_validator(mode="after")
    def _no_test_labels_in_training(self) -> "Config":
        if self.protocol == "transductive" and self.objective.labelled == TARGET:
            raise ValueError(
                f"protocol=transductive cannot be used with objective.name={self.objective.name}, which would train on "
                "the labels of the test"
            )
        return self

    @model_validator(mode="after")
    def _sam_needs_unscaled_gradients(self) -> "Config":
        if self.optimizer.sam_rho and self.train.precision == "fp16":
            raise ValueError(
                "optimizer.sam_rho cannot be used with train.precision=fp16, whose gradients underflow unless the loss "
                "is scaled: use bf16"
            )
        return self

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "Config":
        if self.optimizer.nesterov and not self.optimizer.momentum:
            raise ValueError("optimizer.nesterov=true needs optimizer.momentum above 0")
        return self

    @property
    def score(self) -> str:
        """The model-selection score in force."""
        return self.selection.score or self.objective.score

    @property
    def run_folder(self) -> Path:
        return Path(self.output) / self.name

    @property
    def mirrored(self) -> str | None:
        """The address of the run's copy in an object store; None without one."""
        return mirror_below(self.mirror, self.name)

    def fingerprint(self) -> str:
        """Return a hash of the keys that decide the weights at a given step: a run resumes only with the same hash."""
        return hashlib.sha256(json.dumps(self.decisive(), sort_keys=True).encode()).hexdigest()[:16]

    def decisive(self) -> dict[str, Any]:
        """Return the keys that decide the weights at a given step: all that are not marked harmless.

        With objective.label_shift=correct evaluations decide the weights too: when they
        happen, and on how many samples.
        """
        content = stored_decisive(Config, self.model_dump(mode="json"))
        content["objective"] = stored_decisive(type(self.objective), content["objective"])
        if self.objective.label_shift == "correct":
            content["train"]["eval_every"] = self.train.eval_every
            content["evaluation"] = {"probe_samples": self.evaluation.probe_samples}
        return content

    def with_streams(self, streams: int | None) -> "Config":
        """Return a copy with this number of streams."""
        return self.model_copy(update={"data": self.data.model_copy(update={"streams": streams})})

    def with_pipe(self, allowed: bool) -> "Config":
        """Return a copy with or without permission to run shell commands for shards."""
        return self.model_copy(update={"data": self.data.model_copy(update={"allow_pipe": allowed})})

    def stored(self) -> dict[str, Any]:
        """Return the configuration as stored: without secrets and without permission to run shell commands."""
        content = self.model_dump(mode="json")
        content["data"]["allow_pipe"] = False
        scrubbed: dict[str, Any] = scrub_all(content)
        return scrubbed

    def to_yaml(self) -> str:
        """Return `stored` as YAML, which is a valid configuration file."""
        return yaml.safe_dump(self.stored(), sort_keys=False)
