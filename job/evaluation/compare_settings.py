"""The settings of compared runs: seeds of the same settings are averaged, runs that differ are rows of their own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from job.config.schema import stored_recipe
from job.run_folder.differences import flat
from job.system.errors import JobError

MOST_KEYS = 3  # in the name of a row; with more, the row has the name of its first run
LONGEST_TEXT = 80  # characters of these keys and values; likewise
ABSENT = "default"
# Keys of another network: with another number or kind of features, scores of runs do not compare.
NETWORK = ("model.backbone", "model.bottleneck", "model.label_hidden")


def settings_of_run(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a stored configuration that decide its result, beside the seed, with dotted keys."""
    return flat(_numbered(stored_recipe(config)))


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the keys in which two settings differ."""
    return [key for key in {**one, **other} if one.get(key, ABSENT) != other.get(key, ABSENT)]


def network_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that say which network a run trains, whatever its weights."""
    return {key: settings.get(key) for key in NETWORK}


def unlikeness(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[int, int]:
    """Return a key that sorts settings by how much they differ: those of network and images first, then all."""
    keys = differing(one, other)
    return sum(key.startswith(("model.", "data.")) for key in keys), len(keys)


def name_rows(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Set `objective` of each run to the name of its row, and return row -> the settings in which it differs.

    Runs of one method with the same settings are a row. It has the method's name, such as `dann+mcc`; where the method
    has several rows, the name also has their differences, as in `dann (optimizer.lr=0.01)`. Raise JobError for two runs
    with the same settings and seed: one result would count twice.
    """
    rows: dict[str, dict[str, Any]] = {}
    for method, groups in _grouped(runs).items():
        first = groups[0][0]["settings"]
        keys = list(dict.fromkeys(key for (run, *_) in groups for key in differing(run["settings"], first)))
        values = [{key: group[0]["settings"].get(key, ABSENT) for key in keys} for group in groups]
        for number in sorted(range(len(groups)), key=lambda number: [*map(_order, values[number].values())]):
            name = _name(method, values[number], Path(groups[number][0]["run"]))
            if name in rows:  # of folders with the same name
                name = f"{method} ({groups[number][0]['run']})"
            rows[name] = values[number]
            for run in groups[number]:
                run["objective"] = name
    return rows


def _grouped(runs: Sequence[dict[str, Any]]) -> dict[str, list[list[dict[str, Any]]]]:
    """Return method -> its runs, those with the same settings together. Raise JobError as `name_rows` does."""
    by_method: dict[str, list[list[dict[str, Any]]]] = {}
    for run in runs:
        groups = by_method.setdefault(run["method"], [])
        group = next((group for group in groups if group[0]["settings"] == run["settings"]), [])
        for other in group:
            if other["seed"] == run["seed"]:
                what = f"{run['method']} with seed {run['seed']}"
                raise JobError(f"{run['run']} and {other['run']} are both {what}, with the same settings: remove one")
        if not group:
            groups.append(group)
        group.append(run)
    return by_method


def _name(method: str, values: Mapping[str, Any], run: Path) -> str:
    if not values:
        return method
    text = ", ".join(f"{key}={value}" for key, value in values.items())
    return f"{method} ({run.name if len(values) > MOST_KEYS or len(text) > LONGEST_TEXT else text})"


def _order(value: Any) -> tuple[bool, float, str]:
    """Return a key that sorts numbers by size, and other values as text after them."""
    number = isinstance(value, int | float)
    return (not number, value if number else 0, str(value))


def _numbered(value: Any) -> Any:
    """Return lists of sections, such as `objective.also`, as sections by number: `also.0.weight`."""
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        value = {str(number): each for number, each in enumerate(value)}
    return {key: _numbered(each) for key, each in value.items()} if isinstance(value, Mapping) else value
