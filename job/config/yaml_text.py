"""Parse YAML 1.2, within limits: configuration files and values of overrides.

PyYAML follows version 1.1, where ``yes`` and ``on`` are true, ``010`` is 8, ``1:30`` is 90, ``1e3`` is text and a date
is an object. Version 1.2 (core schema) has none of these surprises: only true and false are booleans, numbers are
decimal unless they start with 0x or 0o, and everything else is text.
"""

import re
from typing import Any

import yaml
from pydantic import BaseModel
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from job.config.section import models_in, takes

LARGEST_FILE = 1_000_000  # characters
MOST_VALUES, DEEPEST = 10_000, 20  # aliases counted as often as they are used
LONGEST_NUMBER = 40  # characters
_TEXT, _NUMBERS = "tag:yaml.org,2002:str", ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII
)
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_NULL = re.compile(r"~|null|Null|NULL|")


class _Loader(yaml.SafeLoader):
    """The core schema of YAML 1.2, with merge keys. Refuses repeated keys, of which PyYAML uses the last."""

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, ScalarNode):  # such as the {{ name }} of a template
                raise _problem("expected a name, not a list or a mapping", key_node)
            if key_node.value in seen:
                raise _problem(f"key {key_node.value!r} is repeated", key_node)
            seen.add(key_node.value)
            if key_node.tag != "tag:yaml.org,2002:merge":
                key_node.tag = _TEXT
        return super().construct_mapping(node, deep)

    def scalar(self, node: ScalarNode) -> Any:
        """Construct null, true or false, or a number from its text."""
        kind, text = node.tag.rpartition(":")[2], node.value
        pattern = {"null": _NULL, "bool": _BOOL, "int": _INT, "float": _FLOAT}[kind]
        if not pattern.fullmatch(text) or not isinstance(node, ScalarNode):
            raise _problem(f"{text[:40]!r} is not a valid {kind}", node)
        if kind in ("int", "float") and len(text) > LONGEST_NUMBER:
            raise _problem(f"a number of {len(text):,} characters; at most {LONGEST_NUMBER} are allowed", node)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_Loader.yaml_implicit_resolvers = {}
_Loader.yaml_constructors = {}  # no dates, sets or binary data
for _kind, _pattern, _first in (
    ("null", _NULL, ["~", "n", "N", ""]),
    ("bool", _BOOL, list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+0123456789.")),
    ("merge", re.compile("<<"), ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern.pattern})$"), _first)
for _kind in ("null", "bool", "int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.scalar)
for _kind in ("str", "seq", "map"):
    _Loader.add_constructor(
        f"tag:yaml.org,2002:{_kind}", yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{_kind}"]
    )
_Loader.add_constructor(None, yaml.SafeLoader.construct_undefined)  # type: ignore[type-var]


def parse_yaml(text: str, annotation: Any) -> Any:
    """Parse YAML for a field with this annotation: numbers stay text where text is expected (007).

    Raises yaml.YAMLError, also for text that is nested too deeply or whose aliases expand to too many values.
    """
    if len(text) > LARGEST_FILE:
        raise yaml.YAMLError(f"it has more than {LARGEST_FILE:,} characters")
    _check_depth(text)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        _read_numbers_as_text(node, annotation)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def annotation_of(section: type[BaseModel], key: str) -> Any:
    """Return the annotation of a dotted key; None for an unknown key."""
    annotation: Any = section
    for name in key.split("."):
        annotation = _field(annotation, name)
    return annotation


def _field(annotation: Any, name: str) -> Any:
    fields = [model.model_fields[name] for model in models_in(annotation) if name in model.model_fields]
    return fields[0].annotation if fields else None


def _read_numbers_as_text(node: Node, annotation: Any) -> None:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            _read_numbers_as_text(value, _field(annotation, str(key.value)))
    elif isinstance(node, SequenceNode):
        for value in node.value:
            _read_numbers_as_text(value, annotation)
    elif node.tag in _NUMBERS and takes(annotation, str) and not (takes(annotation, int) or takes(annotation, float)):
        node.tag = _TEXT


def _check_depth(text: str) -> None:
    """Raise yaml.YAMLError for deep nesting, before any recursive function runs."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise _problem(f"more than {DEEPEST} levels deep", event)


def _count(node: Node, counted: dict[int, int]) -> int:
    """Count the values with aliases expanded: a few lines of them can mean billions. Raises yaml.YAMLError."""
    if id(node) in counted:
        if counted[id(node)] < 0:
            raise _problem("an alias inside its own anchor", node)
        return counted[id(node)]
    counted[id(node)] = -1
    parts = [each for pair in node.value for each in pair] if isinstance(node, MappingNode) else node.value
    count = 1 + sum(_count(each, counted) for each in parts) if not isinstance(node, ScalarNode) else 1
    if count > MOST_VALUES:
        raise _problem(f"more than {MOST_VALUES:,} values", node)
    counted[id(node)] = count
    return count


def _problem(what: str, where: Any) -> ConstructorError:
    return ConstructorError(None, None, what, where.start_mark)
