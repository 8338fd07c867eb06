"""Tell in which keys two configurations differ, of those that decide the weights or choose the checkpoint."""

from typing import Any

from job.config.schema import Config


def differences(before: Config, now: Config) -> list[str]:
    """Return each difference as ``key OLD -> NEW``."""
    # the score in force too: the scores of one run are compared with each other
    old, new = (_flat(one.decisive()) | {"selection.score": one.score} for one in (before, now))
    keys = [key for key in {**new, **old} if old.get(key) != new.get(key)]
    return [f"{key} {old.get(key, 'default')} -> {new.get(key, 'default')}" for key in keys]


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
