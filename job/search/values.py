"""Get and set values of a configuration of nested dictionaries and lists by their dotted keys."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from job.config.load import build_config
from job.config.objectives import SETTINGS, switch_method
from job.system.errors import JobError

METHOD = "objective.name"


def without_indices(key: str) -> str:
    """Return a key without the indices of lists: ``objective.also.0.weight`` is ``objective.also.weight``."""
    return ".".join(part for part in key.split(".") if not part.isdigit())


def get_value(content: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key, or None if it has none."""
    node: Any = content
    for part in key.split("."):
        try:
            node = node[int(part)] if isinstance(node, list) else node[part]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return node


def has_place(content: Mapping[str, Any], key: str) -> bool:
    """Return whether a key applies: False for a setting that the method lacks, or an index beyond the end of a list."""
    top, *rest = key.split(".")
    settings = SETTINGS.get(content["objective"]["name"])
    if top == "objective" and settings is not None and rest and rest[0] not in settings.model_fields:
        return False
    indices = [place for place, part in enumerate(rest) if part.isdigit()]
    return not indices or get_value(content, ".".join([top, *rest[: indices[-1] + 1]])) is not None


def set_value(content: dict[str, Any], key: str, value: Any) -> None:
    """Set a key in place; setting another method drops the keys that it lacks. Raises JobError for an unknown key."""
    if key == METHOD and isinstance(value, str):
        switch_method(content["objective"], value)
        return
    *parents, leaf = key.split(".")
    node: Any = content
    try:
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        node[int(leaf) if isinstance(node, list) else leaf] = deepcopy(value)
    except (AttributeError, IndexError, TypeError, ValueError):
        raise JobError(f"{key} is not a key of the configuration: docs/configuration.md lists them") from None


def with_values(base: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration `base`, as stored, with the values of a trial."""
    content = build_config(base, "search").stored()
    for key, value in values.items():
        set_value(content, key, value)
    return content
