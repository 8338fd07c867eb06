"""Write docs/configuration.md from the schema.

python -m job.config.document            # print the page
python -m job.config.document --write    # write it; tests/config/test_document.py fails while the page is out of date
"""

import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from job.config.schema import Config
from job.config.section import HARMLESS, models_in
from job.config.terms import TERM_SETTINGS
from job.system.files import write_atomically

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
_HEAD = """\
# Configuration

All keys, generated from `job/config/` by `python -m job.config.document --write`.

A configuration is a YAML file (version 1.2: `yes`, `on` and `no` are text, `010` is 10, `1e3` is a number). Every key
has a default, so a file lists only what differs; `configs/` has examples. Words after the configuration override keys:
`key.sub=value`. An unknown key is an error that names the nearest known key. The resolved configuration is in
`config.yaml` of the run folder and in every checkpoint; a configuration that contains a secret is refused.

A run resumes only with its original values, except for keys marked *free*: no weight depends on them.
"""
_KEPT = ("selection",)  # no weight depends on it, but the best score so far must compare with later ones
_PLAIN = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null"}


def page() -> str:
    """Return docs/configuration.md."""
    parts = [_HEAD, "## Top level\n", _table("", Config, False)]
    terms = ((f"objective.also, an entry with name: {name}", term, False) for name, term in TERM_SETTINGS.items())
    for title, model, free in (*_sections(Config), *terms):
        prefix = title.split(",")[0] + "."
        parts += [f"## {title}\n", f"{_first(model)}\n", _table(prefix, model, free)]
    return "\n".join(parts)


def _sections(
    model: type[BaseModel], prefix: str = "", free: bool = False
) -> Iterator[tuple[str, type[BaseModel], bool]]:
    """Yield title and model of each section, and whether all its keys are free.

    A union of models, of which `name` selects one, gives several. Lists of sections are omitted.
    """
    for name, field in model.model_fields.items():
        models = list(models_in(field.annotation))
        all_free = free or (HARMLESS in field.metadata and name not in _KEPT)
        for section in models:
            title = f"{prefix}{name}"
            if len(models) > 1:
                title += f", with {name}.name={section.model_fields['name'].default}"
            if get_origin(field.annotation) is tuple:
                continue
            yield title, section, all_free
            yield from _sections(section, f"{prefix}{name}.", all_free)


def _first(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().split("\n")[0]


def _table(prefix: str, model: type[BaseModel], all_free: bool) -> str:
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if any(models_in(field.annotation)) and get_origin(field.annotation) is not tuple:
            continue
        free = "*free.* " if all_free or HARMLESS in field.metadata else ""
        text = " ".join((field.description or "").split())
        cells = [f"`{prefix}{name}`", kind(field.annotation, field.metadata), f"`{_yaml(field.default)}`", free + text]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def kind(annotation: Any, limits: Sequence[Any] = ()) -> str:
    """Describe what values an annotation allows, such as "integer, at least 1, or null"."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind(arguments[0], [*arguments[1:], *limits])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return ", or ".join(kind(each, limits if each is not type(None) else ()) for each in arguments)
    if origin is tuple and any(models_in(annotation)):
        return "list of sections, below"
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"list of {kind(arguments[0]).replace('integer', 'integers', 1).replace('number', 'numbers', 1)}"
    if origin is tuple:
        return f"list of {len(arguments)}, each {kind(arguments[0])}"
    return ", ".join([_PLAIN[annotation], *_bounds(limits)])


def _bounds(limits: Sequence[Any]) -> Iterator[str]:
    for limit in limits:
        if isinstance(limit, FieldInfo):
            yield from _bounds(limit.metadata)
        elif isinstance(limit, Ge):
            yield f"at least {_number(limit.ge)}"
        elif isinstance(limit, Gt):
            yield f"above {_number(limit.gt)}"
        elif isinstance(limit, Le):
            yield f"at most {_number(limit.le)}"
        elif isinstance(limit, Lt):
            yield f"below {_number(limit.lt)}"


def _number(value: Any) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _yaml(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    return str(value)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write_atomically(PAGE, page())
    else:
        print(page(), end="")
