"""Configuration files: YAML, overridden by ``key.sub=value`` words, checked against `job/config/schema.py`.

Every mistake is told in one line that names the file, the key and, for an unknown key, the nearest known one.
"""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from job.config.schema import Config
from job.system.errors import JobError
from job.system.secrets import refuse_secrets


class _UniqueKeys(yaml.SafeLoader):
    """YAML that refuses a key given twice, where plain YAML lets the last one win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):  # such as the {{ name }} of a template
                problem = "a name is wanted here, and this is a list or a mapping"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            if key_node.value in seen:
                problem = f"key {key_node.value!r} twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file and apply ``key.sub=value`` overrides, whose values are YAML.

    Raises JobError, in one line, when the file is missing or no YAML mapping, or when a key or a value is not allowed.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except FileNotFoundError:
        known = ", ".join(sorted(str(p) for p in Path("configs").glob("*.yaml")))
        raise JobError(f"no configuration at {path}: choose one of {known or 'your own YAML files'}") from None
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise JobError(
            f"cannot read the configuration {path} ({why}): give a YAML file such as configs/faces.yaml"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise JobError(f"{where} is not valid YAML: {getattr(error, 'problem', None) or error}") from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise JobError(f"{path} is not a configuration: wants `key: value` lines, found a {type(content).__name__}")
    content.setdefault("name", path.stem)
    for override in overrides:
        _apply(content, override)
    config = build_config(content, str(path), overrides)
    refuse_secrets(config.to_yaml(), "the configuration")
    return config


def build_config(content: dict, where: str, overrides: Sequence[str] = ()) -> Config:
    """Check a configuration given as nested dictionaries. Raises JobError that names `where`, or the override."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise JobError(_describe(error, where, overrides)) from None


def _apply(content: dict, override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise JobError(f"override {override!r} is not of the form key.sub=value, for instance optimizer.lr=0.01")
    *parents, leaf = key.split(".")
    node = content
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise JobError(f"override {override!r}: {parent} is not a section")
    try:
        node[leaf] = yaml.load(value, _UniqueKeys)
    except yaml.YAMLError:
        raise JobError(f"override {override!r}: the value is not valid YAML") from None


def known_keys(model: type[BaseModel] = Config, prefix: str = "") -> Iterable[str]:
    """Every dotted key of the configuration, sections included."""
    for name, field in model.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from known_keys(field.annotation, f"{prefix}{name}.")


def _describe(error: ValidationError, where: str, overrides: Sequence[str]) -> str:
    problems = error.errors()
    first = problems[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        text = f"unknown key {key}{_nearest(key)}"
    elif first["type"] == "model_type":
        within = next(name for name in known_keys() if name.startswith(f"{key}."))
        text = f"{key} is a section: set its keys, such as {within}"
    elif key:
        message = first["msg"].removeprefix("Value error, ")
        text = f"{key} = {first['input']!r}: {message[0].lower()}{message[1:]}"
    else:
        text = first["msg"].removeprefix("Value error, ")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    for override in overrides:
        if f"{key}.".startswith(f"{override.partition('=')[0]}."):
            where = f"override {override!r}"
    return f"{where}: {text}{more}"


def _nearest(key: str) -> str:
    known = list(known_keys())
    section, _, leaf = key.rpartition(".")
    by_leaf = {name.rpartition(".")[2]: name for name in known}
    siblings = [name for name in known if name.rpartition(".")[0] == section]
    close = difflib.get_close_matches(key, siblings, n=1, cutoff=0.75)  # misspelt
    close = close or ([by_leaf[leaf]] if leaf in by_leaf else [])  # in the wrong section
    close = close or [by_leaf[match] for match in difflib.get_close_matches(leaf, by_leaf, n=1)]  # both
    return f": did you mean {close[0]}?" if close else ": job/config/schema.py lists them"
