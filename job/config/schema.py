"""The configuration: every key, its default, its limits, and what it does. `job/config/load.py` reads it.

The sections stand in files beside this one; docs/configuration.md is written from them (`job/config/document.py`).
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, Field, field_validator, model_validator

from job.config.data import Augment, Data
from job.config.model import Model
from job.config.monitoring import Evaluation, Wandb
from job.config.objectives import SETTINGS, DANNSettings, MethodSettings, Objective, complete
from job.config.section import Harmless, Section, harmless_keys
from job.config.training import Optimizer, Selection, Train
from job.system.secrets import scrub_all

__all__ = ["Augment", "Config", "Data", "Evaluation", "Model", "Objective", "Optimizer", "Section", "Selection"]
__all__ += ["Train", "Wandb", "decisive_data", "score_of"]
LONGEST_NAME = 200  # bytes; file systems allow 255, and temporary names beside it are a little longer


def decisive_data(data: dict[str, Any]) -> dict[str, Any]:
    """Of the section `data` what decides the weights; the manifest's hash stands for the shards themselves."""
    return {key: value for key, value in data.items() if key not in harmless_keys(Data)}


def score_of(config: Mapping[str, Any]) -> str:
    """Return the model-selection score in force, of a configuration as a run folder holds it."""
    return (config.get("selection") or {}).get("score") or SETTINGS.get(
        config["objective"]["name"], MethodSettings
    ).score


class Config(Section):
    """All of it."""

    name: Harmless[Annotated[str, Field(min_length=1)]] = "run"
    """The run folder is OUTPUT/NAME."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Of first weights, data order, augmentation and dropout."""
    output: Harmless[str] = "runs"
    """Folder of run folders."""
    data: Data = Data()
    """Which shards are read, and how."""
    model: Model = Model()
    """The network."""
    objective: Objective = DANNSettings()
    """The method and its loss."""
    optimizer: Optimizer = Optimizer()
    """The optimiser."""
    train: Train = Train()
    """Length and intervals."""
    evaluation: Harmless[Evaluation] = Evaluation()
    """What is measured and drawn."""
    selection: Harmless[Selection] = Selection()
    """How the checkpoint is chosen. No weight depends on it, but a run keeps it: the best score so far must compare."""
    wandb: Harmless[Wandb] = Wandb()
    """Weights & Biases."""

    @field_validator("objective", mode="before")
    @classmethod
    def _complete(cls, objective: Any) -> Any:
        return complete(objective)

    @field_validator("name")
    @classmethod
    def _plain_folder_name(cls, name: str) -> str:
        if "/" in name or name in (".", ".."):
            raise ValueError("is a folder name: no slash in it (the folder above it is `output`)")
        if len(name.encode()) > LONGEST_NAME:
            raise ValueError(f"is too long for a folder name: at most {LONGEST_NAME} bytes")
        if "\n" in name or "\t" in name or name != name.strip():
            raise ValueError("is a folder name: no line breaks, tabs, or blanks around it")
        return name

    @model_validator(mode="after")
    def _score_fits_objective(self) -> "Config":
        supervised = self.objective.supervised
        if self.selection.score is not None and (self.selection.score == "target_accuracy") != supervised:
            raise ValueError(
                f"selection.score={self.selection.score} does not go with objective.name={self.objective.name}: "
                "target labels may choose a checkpoint of train_on_target only, and only they do"
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

    def fingerprint(self) -> str:
        """Hash of what decides the weights at a given step: a run goes on only under the same one."""
        return hashlib.sha256(json.dumps(self.decisive(), sort_keys=True).encode()).hexdigest()[:16]

    def decisive(self) -> dict[str, Any]:
        """The keys that decide the weights at a given step: all that are not marked as harmless."""
        return _decisive(self)

    def with_pipe(self, allowed: bool) -> "Config":
        """The same configuration, with or without the permission to run shell commands for shards."""
        return self.model_copy(update={"data": self.data.model_copy(update={"allow_pipe": allowed})})

    def stored(self) -> dict[str, Any]:
        """The configuration as run folder, checkpoints and W&B hold it: no secrets, no permission to run commands."""
        content = self.model_dump(mode="json")
        content["data"]["allow_pipe"] = False
        scrubbed: dict[str, Any] = scrub_all(content)
        return scrubbed

    def to_yaml(self) -> str:
        """`stored` as YAML, itself a valid configuration file."""
        return yaml.safe_dump(self.stored(), sort_keys=False)


def _decisive(section: BaseModel) -> dict[str, Any]:
    content = section.model_dump(mode="json", exclude=harmless_keys(type(section)))
    nested = {name: getattr(section, name) for name in content}
    return content | {name: _decisive(value) for name, value in nested.items() if isinstance(value, BaseModel)}
