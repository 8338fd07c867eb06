"""Load configuration files: YAML, overridden by ``key.sub=value`` words, checked against `job/config/schema.py`.

Every mistake is reported in one line that names the file, the key and, for an unknown key, the nearest known one.
"""

import copy
import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from job.config.objectives import SETTINGS, switch_method
from job.config.schema import Config
from job.config.section import models_in
from job.config.terms import TERM_SETTINGS
from job.config.yaml_text import LARGEST_FILE, annotation_of, parse_yaml
from job.system.errors import JobError
from job.system.secrets import find_secret
from job.system.text import first_line, shortened


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file and apply ``key.sub=value`` overrides, whose values are YAML.

    Raises JobError when the file is missing or is not a YAML mapping, or when a key or a value is not allowed.
    """
    path = Path(path)
    content = _read(path)
    if (path.parent / "checkpoints").is_dir() and isinstance(content.get("data"), dict):
        content["data"].pop("allow_pipe", None)  # the file of a run folder cannot give permission; an override can
    content.setdefault("name", path.stem)
    return _overridden(content, shortened(str(path)), overrides)


def default_config(overrides: Sequence[str] = ()) -> Config:
    """Return the defaults with overrides applied. Raises JobError as `load_config` does."""
    return _overridden({}, "defaults", overrides)


def _overridden(content: dict[str, Any], where: str, overrides: Sequence[str]) -> Config:
    """Apply overrides to the content of a file and validate the result. A mistake names the override that made it."""
    words = sorted(overrides, key=lambda word: not word.startswith("objective.name="))
    applied = _applied(content, words)
    try:
        config = Config.model_validate(applied)
    except ValidationError as error:
        if blamed := _blamed(error.errors()[0], content, words):
            where = f"override {shortened(blamed)!r}"
        raise JobError(f"{where}: {_describe(error)}") from None
    _refuse_secrets(config.model_dump(mode="json"))
    return config


def _read(path: Path) -> dict[str, Any]:
    shown = shortened(str(path))
    try:
        with open(path, encoding="utf-8") as file:
            content = parse_yaml(file.read(LARGEST_FILE + 1), Config)
    except FileNotFoundError:
        known = ", ".join(sorted(str(p) for p in Path("configs").glob("*.yaml")))
        raise JobError(f"no configuration at {shown}: choose one of {known or 'your own YAML files'}") from None
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise JobError(
            f"cannot read the configuration {shown} ({why}): give a YAML file such as configs/faces.yaml"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{shown}, line {mark.line + 1}" if mark else shown
        raise JobError(f"{where} is not valid YAML: {_yaml_problem(error)}") from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise JobError(f"{shown} is not a configuration: expected `key: value` lines, not a {type(content).__name__}")
    return content


def _yaml_problem(error: yaml.YAMLError) -> str:
    return shortened(getattr(error, "problem", None) or getattr(error, "reason", None) or first_line(error))


def _refuse_secrets(content: Any, key: str = "") -> None:
    """Raise JobError when a value contains a secret: it would be copied to the run folder and every checkpoint."""
    if isinstance(content, dict):
        for name, value in content.items():
            _refuse_secrets(value, f"{key}.{name}".lstrip("."))
    elif isinstance(content, list):
        for value in content:
            _refuse_secrets(value, key)
    elif isinstance(content, str):
        what = find_secret(content)
        if what is None and key == "data.shards" and "://" in content.split("?")[0] and "?" in content:
            what = "a query string (https://...?...)"
        if what is not None:
            raise JobError(f"{key} contains {what}, which would be copied to every checkpoint: {_ADVICE}")


_ADVICE = (
    "remove it; if shards need it, keep it in ~/.netrc or an environment variable and fetch with "
    'data.allow_pipe=true and `pipe:curl -sfL --netrc URL` or `pipe:curl -sfL -H "Authorization: Bearer $NAME" URL`'
)


def build_config(content: dict[str, Any], where: str) -> Config:
    """Validate a configuration of nested dictionaries. Raises JobError that names `where`."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise JobError(f"{where}: {_describe(error)}") from None


def _applied(content: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return a copy of the content to which overrides were applied in order."""
    made = copy.deepcopy(content)
    for override in overrides:
        _apply(made, override)
    return made


def _blamed(problem: Any, content: dict[str, Any], overrides: Sequence[str]) -> str | None:
    """Return the override that causes a problem: it sets the key, or is the first after which the problem is there.

    None if the content has the problem without any override.
    """
    key = _place(problem["loc"])[0]
    for override in reversed(overrides):
        if f"{key}.".startswith(f"{override.partition('=')[0]}."):
            return override
    for count in range(len(overrides)):
        try:
            Config.model_validate(_applied(content, overrides[:count]))
        except ValidationError as error:
            if any(all(one[part] == problem[part] for part in ("type", "loc", "msg")) for one in error.errors()):
                return overrides[count - 1] if count else None
    return overrides[-1] if overrides else None


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    shown = shortened(override)
    if key.startswith("-"):
        raise JobError(_with_dashes(override))
    if not equals or not key:
        raise JobError(f"override {shown!r} is not of the form key.sub=value, for instance optimizer.lr=0.01")
    try:
        parsed = parse_yaml(value, annotation_of(Config, key))
    except yaml.YAMLError as error:
        raise JobError(f"override {shown!r}: the value is not valid YAML ({_yaml_problem(error)})") from None
    *parents, leaf = key.split(".")
    node = content
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise JobError(f"override {shown!r}: {parent} is not a section")
    if key == "objective.name" and isinstance(parsed, str):
        switch_method(node, parsed)
    else:
        node[leaf] = parsed


def _with_dashes(override: str) -> str:
    """Explain that an override has no dashes, or that there is no such option."""
    key, _, value = override.lstrip("-").partition("=")
    if key in known_keys() or "." in key:
        written = shortened(f"{key}={value or 'VALUE'}")
        return f"override {shortened(override)!r}: leave out the dashes, {written}"
    return f"unknown option {shortened(override)}: see --help; keys are set without dashes, for instance train.steps=50"


def known_keys(method: str | None = None, model: type[BaseModel] = Config, prefix: str = "") -> Iterable[str]:
    """Yield every dotted key of the configuration, sections included; of `objective` those of `method`, or of all."""
    for name, field in model.model_fields.items():
        yield prefix + name
        sections = [SETTINGS[method]] if method and name == "objective" else models_in(field.annotation)
        for section in sections:
            yield from dict.fromkeys(known_keys(method, section, f"{prefix}{name}."))


def _place(loc: tuple[int | str, ...]) -> tuple[str, str | None]:
    """Return the key at which pydantic found a problem, and the method if the key is one of its settings."""
    method: str | None = None
    if loc[:1] == ("objective",) and len(loc) > 1 and loc[1] in SETTINGS:  # drop the tag of the union
        loc, method = (loc[0], *loc[2:]), str(loc[1])
    if loc[:2] == ("objective", "also") and len(loc) > 3:  # drop the tag of the entry
        loc = (*loc[:3], *loc[4:])
    return ".".join(str(part) for part in loc), method


def _describe(error: ValidationError) -> str:
    problems = error.errors()
    first = problems[0]
    key, method = _place(first["loc"])
    key = shortened(key)
    if first["type"] == "extra_forbidden":
        text = f"unknown key {key}{_nearest(key, method)}"
        if method and key in known_keys():
            text = f"{key} is not a setting of {method}{_nearest(key, method)}"
    elif first["type"] == "union_tag_invalid":
        name = first["ctx"]["tag"]
        what, names = ("method", list(SETTINGS)) if key == "objective" else ("term", list(TERM_SETTINGS))
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(names)}"
        text = f"{key}.name = {name!r} is not a {what}: {hint}"
    elif first["type"] == "model_type":
        within = next(name for name in known_keys() if name.startswith(f"{key}."))
        text = f"{key} is a section: set its keys, such as {within}"
    elif key:
        message = first["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list")
        text = f"{key} = {shortened(repr(first['input']), 80)}: {message[0].lower()}{message[1:]}{_hint(first)}"
    else:
        text = first["msg"].removeprefix("Value error, ")
    return f"{text} (and {len(problems) - 1} more)" if len(problems) > 1 else text


def _hint(error: Any) -> str:
    """Return how to write a text that YAML reads as another type."""
    if error["type"] == "string_type" and isinstance(error["input"], bool | int | float):
        return f": put it into quotes, '{str(error['input']).lower()}'"
    return ""


def _nearest(key: str, method: str | None = None) -> str:
    known = list(known_keys(method))
    key = re.sub(r"^objective\.also\.\d+", "objective.also", key)
    section, _, leaf = key.rpartition(".")
    by_leaf = {name.rpartition(".")[2]: name for name in known}
    siblings = [name for name in known if name.rpartition(".")[0] == section]
    close = difflib.get_close_matches(key, siblings, n=1, cutoff=0.75)  # misspelt
    close = close or ([by_leaf[leaf]] if leaf in by_leaf else [])  # in the wrong section
    close = close or [by_leaf[match] for match in difflib.get_close_matches(leaf, by_leaf, n=1)]  # both
    return f": did you mean {close[0]}?" if close else ": docs/configuration.md lists them"
