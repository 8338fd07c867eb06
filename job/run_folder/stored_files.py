"""Read the small files of a run folder, any of which may be missing, incomplete or damaged.

A damaged file is skipped with a warning: it must not prevent a run from resuming or its report from being written.
"""

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from job.config.load import build_config
from job.run_folder.checkpoint_meta import read_meta
from job.run_folder.pointers import checkpoint_paths
from job.system.errors import JobError, first_line
from job.system.files import read_regular
from job.system.text import printable

log = logging.getLogger("job")
_LARGEST = (
    64 * 2**20
)  # bytes of a JSON or YAML file; the largest real one, a confusion matrix of 1,000 classes, has 10 MB
_Count = Annotated[int, Field(ge=0, le=2**53)]


class _Domain(BaseModel):
    model_config = ConfigDict(extra="allow")
    confusion: list[list[_Count]] | None
    predicted: list[_Count]


_Shares = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)]


class _SharesWithInterval(BaseModel):
    share: _Shares
    low: _Shares
    high: _Shares


class _LabelShift(BaseModel):
    model_config = ConfigDict(extra="allow")
    source: _Shares
    target: _SharesWithInterval
    black_box: _SharesWithInterval
    distance: float
    distance_low: float
    distance_high: float
    target_error: float
    trust: float = 0.0

    def sizes(self) -> set[int]:
        """Return the lengths of all lists, which must be the number of classes."""
        both = (self.target, self.black_box)
        lists = [self.source, *(part for each in both for part in (each.share, each.low, each.high))]
        return {len(part) for part in lists}


class _Evaluation(BaseModel):
    model_config = ConfigDict(extra="allow")
    step: Annotated[int, Field(ge=0, le=10**12)]
    class_names: Annotated[list[str], Field(min_length=1)]
    source: _Domain
    target: _Domain
    label_shift: _LabelShift | None = None  # version 0.1 did not estimate it

    @model_validator(mode="after")
    def _one_size(self) -> "_Evaluation":
        classes = len(self.class_names)
        for domain in (self.source, self.target):
            rows = domain.confusion
            if len(domain.predicted) != classes or (
                rows is not None and [len(row) for row in rows] != [classes] * classes
            ):
                raise ValueError(f"the counts are not those of {classes} classes")
        if self.label_shift is not None and self.label_shift.sizes() != {classes}:
            raise ValueError(f"the class shares are not those of {classes} classes")
        return self


def read_object(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file; return {} when there is no file, and, with a warning, when it is damaged."""
    try:
        content = json.loads(read_regular(path, most=_LARGEST))
        if not isinstance(content, dict):
            raise ValueError("it contains no JSON object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        skip(path, error)
        return {}
    return content


def read_evaluation(path: Path) -> dict[str, Any] | None:
    """Read the file of an evaluation: step, class names, counts of both domains. None if it is missing or damaged."""
    content = read_object(path)
    if not content:
        return None
    try:
        _Evaluation.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        skip(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        return None
    return content


def read_config(folder: Path) -> dict[str, Any]:
    """Read the configuration of a run, as nested dictionaries with every key.

    Reads config.yaml or, with a warning, the newest readable checkpoint if config.yaml is damaged. Raises JobError when
    neither has a configuration.
    """
    path = folder / "config.yaml"
    try:
        content = yaml.safe_load(read_regular(path, most=_LARGEST))
        return _complete(content, path)
    except FileNotFoundError:
        raise JobError(f"{folder} is not a run folder (it has no config.yaml): give one such as runs/NAME") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError, JobError) as error:
        reason = first_line(error)
    for checkpoint in reversed(checkpoint_paths(folder / "checkpoints")):
        try:
            content = _complete(read_meta(checkpoint)["config"], checkpoint)
        except (OSError, ValueError, JobError):
            continue
        log.warning("%s is damaged (%s): the configuration of %s is shown", path, reason, checkpoint.name)
        return content
    raise JobError(f"{path} is damaged ({reason}) and no checkpoint contains a copy: start the run again to repair it")


def _complete(content: Any, where: Path) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise JobError("it contains no `key: value` lines")
    return build_config(content, str(where)).model_dump(mode="json")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an npz file; return {} when there is no file, and, with a warning, when it is damaged."""
    try:
        with np.load(path) as content:
            return {name: content[name] for name in content.files}
    except FileNotFoundError:
        return {}
    except Exception as error:  # numpy and zipfile raise many kinds of errors for a damaged file
        skip(path, error)
        return {}


def skip(path: Path, reason: BaseException | str) -> None:
    """Log a warning that a file is skipped because it is damaged."""
    text = getattr(reason, "strerror", None) or first_line(reason)
    log.warning("%s is damaged and skipped: %s", path, printable(text))
