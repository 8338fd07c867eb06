"""Read and check ``meta.json`` of a checkpoint."""

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from job.shards.alignment import Alignment
from job.system.errors import first_line
from job.system.files import read_regular
from job.system.text import control_characters, printable, shortened

META, WEIGHTS, TRAINER = "meta.json", "model.safetensors", "trainer.pt"
LARGEST = 16 * 2**20  # bytes: about a hundred times the size for a thousand classes
_Step = Annotated[int, Field(ge=0, le=10**12)]
_Count = Annotated[int, Field(ge=0, le=2**53)]
_Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Share = Annotated[float, Field(ge=0, le=1.001)]  # with the last bits of a sum
_File = Literal["model.safetensors", "trainer.pt"]


class _Best(BaseModel):
    model_config = ConfigDict(strict=True)
    step: _Step | None = None
    score: float | None = None


class _Confidence(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    temperature: Annotated[float, Field(gt=0)]
    bias: list[float]
    source_shares: list[_Share] | None = None
    target_shares: list[_Share] | None = None
    objection: Annotated[str, Field(max_length=200)] | None = None


class _Description(BaseModel):
    """What is needed to use a model: types and ranges of the keys. Keys not listed here are kept unchanged."""

    model_config = ConfigDict(strict=True, extra="allow")
    step: _Step
    sha256: dict[_File, _Hash] = {}  # missing in checkpoints of version 0.1
    config: dict[str, Any]
    class_names: Annotated[list[str], Field(min_length=1, max_length=100_000)]
    size: Annotated[int, Field(ge=1, le=65_535)]  # px, as in the manifest
    quality: Annotated[int, Field(ge=1, le=100)]
    crop: Literal["none", "center", "face"] = "center"
    gray: bool = False
    jpeg_scaling: Literal[0, 1] = 0
    alignment: Alignment | None = None
    confidence: _Confidence | None = None

    @field_validator("class_names")
    @classmethod
    def _printable_names(cls, names: list[str]) -> list[str]:
        for name in names:
            if not name or len(name) > 200 or control_characters(name):
                raise ValueError(f"{shortened(printable(name), 40)!r} is not a class name")
        if len(set(names)) < len(names):
            raise ValueError("a class is named twice")
        return names

    @model_validator(mode="after")
    def _confidence_fits(self) -> "_Description":
        if self.confidence is None:
            return self
        lists = (self.confidence.bias, self.confidence.source_shares, self.confidence.target_shares)
        if any(value is not None and len(value) != len(self.class_names) for value in lists):
            raise ValueError("confidence: it needs a number for each class")
        return self


class _Meta(_Description):
    """A checkpoint, from which a run can also resume."""

    files: dict[_File, _Count] = Field(alias="bytes")
    best: _Best = _Best()
    scores: dict[str, Any] = {}
    manifest: str | None = None
    wandb_id: str | None = None
    skipped: _Count = 0

    @field_validator("files")
    @classmethod
    def _both_files(cls, files: dict[str, int]) -> dict[str, int]:
        missing = {WEIGHTS, TRAINER} - set(files)
        if missing:
            raise ValueError(f"the size of {sorted(missing)[0]} is missing")
        return files

    @field_validator("best")
    @classmethod
    def _finite_score(cls, best: _Best) -> _Best:
        if best.score is not None and not math.isfinite(best.score):
            raise ValueError("the score is not finite")
        return best


_Checked = TypeVar("_Checked", bound=_Description)


def read_meta(folder: Path) -> dict[str, Any]:
    """Read and check ``meta.json`` of a checkpoint folder. Raises OSError, or ValueError with a message of one line."""
    meta, checked = _read(folder / META, _Meta)
    return meta | _defaults(checked) | {"best": checked.best.model_dump(), "skipped": checked.skipped}


def read_description(path: Path) -> dict[str, Any]:
    """Read and check the description of a model that cannot be resumed. Raises OSError and ValueError."""
    meta, checked = _read(path, _Description)
    return meta | _defaults(checked)


def _defaults(checked: _Description) -> dict[str, Any]:
    """Return the keys that older checkpoints lack."""
    return {"crop": checked.crop, "gray": checked.gray, "jpeg_scaling": checked.jpeg_scaling}


def _read(path: Path, kind: type[_Checked]) -> tuple[dict[str, Any], _Checked]:
    content = read_regular(path, most=LARGEST)
    try:
        meta = json.loads(content)
        return meta, kind.model_validate(meta)
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None
    except ValidationError as error:
        raise ValueError(f"{path.name}: {_describe(error)}") from None
    except ValueError as error:  # not JSON, not UTF-8, or an integer of thousands of digits
        raise ValueError(f"{path.name}: {shortened(printable(first_line(error)))}") from None


def _describe(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = shortened(printable(".".join(map(str, first["loc"])), keep=""), 60)
    message = first["msg"].removeprefix("Value error, ")
    return f"{key}: {message[0].lower()}{message[1:]}" if key else message
