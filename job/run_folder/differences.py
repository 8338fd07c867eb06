"""Find the keys in which two configurations differ, among those that decide the weights or choose the checkpoint."""

from collections.abc import Iterable
from typing import Any

from job.config.schema import Config


def differences(before: Config, now: Config) -> list[str]:
    """Return each difference as ``key OLD -> NEW``."""
    if now.data.streams is None:  # a run keeps the number that was chosen at its start
        now = now.with_streams(before.data.streams)
    # the score in force too: the scores of one run are compared with each other
    old, new = (flat(one.decisive()) | {"selection.score": one.score} for one in (before, now))
    return changes(old, new, {**new, **old}, absent="default")


def changes(old: dict[str, Any], new: dict[str, Any], keys: Iterable[str], absent: Any = None) -> list[str]:
    """Return each of the `keys` of two flat dictionaries whose values differ as ``key OLD -> NEW``."""
    different = (key for key in keys if old.get(key) != new.get(key))
    return [f"{key} {old.get(key, absent)} -> {new.get(key, absent)}" for key in different]


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one, with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found
