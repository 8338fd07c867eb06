"""Base class of the sections: strict validation, limits, and the mark of keys that no weight depends on."""

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from job.system.text import control_characters

LONGEST_TEXT = 2000  # characters; Linux allows 4,096 bytes in a path, and file names are appended to it
Value = TypeVar("Value")


class _Harmless:
    """Mark of a key that no weight depends on: a run may resume with another value."""

    def __repr__(self) -> str:
        return "harmless"


class _SinceNextVersion:
    """Mark of a key that version 0.1 did not have: it is not part of the fingerprint while it has its default."""

    def __repr__(self) -> str:
        return "new"


HARMLESS = _Harmless()
NEW = _SinceNextVersion()
Harmless = Annotated[Value, HARMLESS]  # `threads: Harmless[Positive]`; every other key decides the weights
New = Annotated[Value, NEW]  # old runs keep their fingerprints

# Upper limits are far above any use: a typing mistake fails here, in one line, and not deep in a library.
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Positive = Annotated[int, Field(gt=0, le=1_000_000_000)]
BatchSize = Annotated[int, Field(gt=0, le=1_000_000)]
Width = Annotated[int, Field(gt=0, le=1_000_000)]
Widths = Annotated[tuple[Width, ...], Field(max_length=100)]
Fraction = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Gibibytes = Annotated[float, Field(ge=0, le=1e9)]


class Section(BaseModel):
    """Base of all sections: refuses unknown keys, unprintable text, and booleans where a number is expected.

    The docstring under a key is its description in docs/configuration.md.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
    not_new: ClassVar[frozenset[str]] = frozenset()  # keys that a base class marks as new and this section had before

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[info.field_name or ""].annotation
        numeric = not takes(annotation, bool) and (takes(annotation, int) or takes(annotation, float))
        for leaf in _leaves(value):
            if isinstance(leaf, str):
                _check_text(leaf)
            elif isinstance(leaf, bool) and numeric:
                raise ValueError("is true or false, and a number is expected")
        return value


def takes(annotation: Any, kind: type) -> bool:
    """Return whether a field with this annotation allows values of `kind`, directly or in a tuple, union or Literal."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return takes(get_args(annotation)[0], kind)
    if origin in (Union, types.UnionType, tuple, list):
        return any(takes(each, kind) for each in get_args(annotation))
    if origin is not None and not isinstance(origin, type):  # a Literal
        return any(type(each) is kind for each in get_args(annotation))
    return annotation is kind


def models_in(annotation: Any) -> Iterator[type[Section]]:
    """Yield the sections that an annotation allows: one, or the members of a union."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for each in get_args(annotation):
        yield from models_in(each)


def stored_decisive(section: type[Section], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a section, as it is stored, that decide the weights.

    Keys that are newer than version 0.1 are left out while they have their default. Keys that the section does not have
    are of another version, and are kept.
    """
    found = {}
    for key, value in stored.items():
        field = section.model_fields.get(key)
        if field is None:
            found[key] = value
        elif not (HARMLESS in field.metadata or (_is_new(section, key) and value == _as_stored(field.default))):
            nested = list(models_in(field.annotation)) if isinstance(value, Mapping) else []
            found[key] = stored_decisive(nested[0], value) if len(nested) == 1 else value
    return found


def _is_new(section: type[Section], key: str) -> bool:
    return NEW in section.model_fields[key].metadata and key not in section.not_new


def _as_stored(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def _check_text(text: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"is {len(text):,} characters long; at most {LONGEST_TEXT:,} are allowed")
    strange = control_characters(text, allowed="\n\t")
    if strange:
        raise ValueError(f"contains a character that is not allowed ({strange[0]!a}): remove it")
