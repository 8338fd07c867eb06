"""Read a search space: which keys of the configuration vary, and over which values.

    objective.name: {choices: [dann, cdan]}
    objective.lambda_max: {low: 0.1, high: 1, log: true}
    optimizer.domain_lr_factor: {choices: [1, 3, 10], when: {objective.name: [dann, cdan]}}
    objective.also.0.weight: {low: 0.03, high: 1, log: true}        # of the first entry of a list

A key of `objective` that the method of a trial does not have is left out of that trial, and so is every key whose
`when` is not met. A key that the command line sets is fixed and not searched.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from optuna.trial import Trial

from job.config.load import build_config
from job.config.objectives import method_label, settings_of
from job.config.schema import Config
from job.config.section import takes
from job.config.yaml_text import LARGEST_FILE, annotation_of, parse_yaml
from job.search.values import METHOD, get_value, has_place, set_value, without_indices
from job.system.errors import JobError, first_line
from job.system.text import shortened
from job.vocabulary import TARGET

_RANGE, _CHOICES = {"low", "high", "log", "step", "when"}, {"choices", "when"}
TERMS = "objective.also"
_EXAMPLE = "{low: 0.1, high: 1, log: true} or {choices: [1, 2, 4]}"
# scores on other data cannot be compared
_OTHER_DATA = ("seed", "protocol", "data.shards", "data.fold", "data.source", "data.target")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`: integers if `whole`, on a logarithmic scale with `log`."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def suggest(self, trial: Trial, key: str) -> Any:
        if self.whole:
            return trial.suggest_int(key, int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return trial.suggest_float(key, self.low, self.high, log=self.log, step=self.step)

    def encoded(self, value: Any) -> Any:
        """Return Optuna's parameter for a value, or None if the value is outside the range."""
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        return value if numeric and self.low <= value <= self.high else None

    def examples(self) -> Sequence[Any]:
        return (self.low, self.high)


@dataclass(frozen=True)
class Choices:
    """One of several values, which may be lists and mappings."""

    values: tuple[Any, ...]

    def suggest(self, trial: Trial, key: str) -> Any:
        return json.loads(trial.suggest_categorical(key, [json.dumps(value) for value in self.values]))

    def encoded(self, value: Any) -> Any:
        """Return Optuna's parameter for a value, or None if the value is not one of the choices."""
        # the configuration may have 10.0 where the space has 10
        equal = (each for each in self.values if each == value and isinstance(each, bool) == isinstance(value, bool))
        return next((json.dumps(each) for each in equal), None)

    def examples(self) -> Sequence[Any]:
        return self.values


@dataclass(frozen=True)
class Space:
    """The keys that vary with their values, the method first, and their conditions. `content` is that of the file."""

    keys: dict[str, Range | Choices]
    when: dict[str, dict[str, list[Any]]]
    content: dict[str, Any]

    def sample(self, trial: Trial, base: Mapping[str, Any]) -> dict[str, Any]:
        """Return key -> value for a trial of the configuration `base`, without the keys that do not apply."""
        return self._walk(base, lambda key, values: values.suggest(trial, key))

    def of(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """Return Optuna's parameters of the unchanged configuration, for its values that the space contains."""
        params: dict[str, Any] = {}

        def take(key: str, values: Range | Choices) -> Any:
            value = method_label(base["objective"]) if key == METHOD else get_value(base, key)
            if value is not None and (encoded := values.encoded(value)) is not None:
                params[key] = encoded
            return value

        self._walk(base, take)
        return params

    def _walk(self, base: Mapping[str, Any], choose: Callable[[str, Range | Choices], Any]) -> dict[str, Any]:
        content, chosen = json.loads(json.dumps(base)), {}
        for key, values in self.keys.items():
            conditions = self.when.get(key, {})
            if all(get_value(content, other) in allowed for other, allowed in conditions.items()) and has_place(
                content, key
            ):
                chosen[key] = choose(key, values)
                set_value(content, key, chosen[key])
        return chosen


def load_space(path: Path, base: Mapping[str, Any], fixed: Sequence[str]) -> Space:
    """Read a space for the configuration `base`, without the keys in `fixed`.

    Raises JobError, which names the file and the key, for a key that the configuration does not have or that must not
    be searched, and for values that it does not allow.
    """
    content = _read(path)
    keys: dict[str, Range | Choices] = {}
    when: dict[str, dict[str, list[Any]]] = {}
    for key in sorted(content, key=lambda key: key != METHOD):
        where = f"{path}: {key}"
        _check_searchable(where, key)
        values, conditions = _read_values(where, key, content[key])
        if key in fixed:
            continue
        for other in conditions:
            if annotation_of(Config, without_indices(other)) is None or (
                other in content and other not in {*keys, *fixed}
            ):
                raise JobError(
                    f"{where}: `when` names {other}: name a key of the configuration, or of a line above this one"
                )
        keys[key], when[key] = values, conditions
    for key, values in keys.items():
        _check_values(f"{path}: {key}", key, values, _possible(key, content, base))
    if METHOD not in keys:  # keys of other methods never apply
        keys = {key: values for key, values in keys.items() if has_place(base, without_indices(key))}
    if not keys:
        raise JobError(f"{path}: nothing to search: no key applies, or every key is set on the command line")
    return Space(keys, when, {key: content[key] for key in keys})


def _read(path: Path) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            content = parse_yaml(file.read(LARGEST_FILE + 1), None)
    except OSError as error:
        known = ", ".join(sorted(map(str, Path("configs/search").glob("*.yaml"))))
        raise JobError(
            f"cannot read the space {path} ({error.strerror}): choose one of {known or 'your own files'}"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise JobError(f"{path} is not valid YAML: {shortened(first_line(error))}") from None
    if not isinstance(content, dict) or not content:
        raise JobError(
            f"{path} is not a search space: write lines such as `optimizer.lr: {_EXAMPLE.partition(' or')[0]}`"
        )
    return content


def _read_values(where: str, key: str, content: Any) -> tuple[Range | Choices, dict[str, list[Any]]]:
    expected = _CHOICES if isinstance(content, dict) and "choices" in content else _RANGE
    if not isinstance(content, dict) or not content.keys() <= expected or not content.keys() & {"choices", "low"}:
        raise JobError(f"{where}: give {_EXAMPLE}, with `when: {{KEY: [VALUE, ...]}}` if it depends on another key")
    conditions = content.get("when") or {}
    if not isinstance(conditions, dict) or not all(isinstance(allowed, list) for allowed in conditions.values()):
        raise JobError(f"{where}: write `when` as {{KEY: [VALUE, ...]}}, for instance {{objective.name: [dann, cdan]}}")
    if "choices" in content:
        choices = content["choices"]
        if not isinstance(choices, list) or len(choices) < 2 or any(c in choices[:i] for i, c in enumerate(choices)):
            raise JobError(f"{where}: choices must be a list of at least two different values")
        return Choices(tuple(choices)), conditions
    return _read_range(where, key, content), conditions


def _read_range(where: str, key: str, content: Mapping[str, Any]) -> Range:
    low: Any = content.get("low")
    high: Any = content.get("high")
    log, step = content.get("log"), content.get("step")
    numbers = [low, high] + ([] if step is None else [step])
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        raise JobError(f"{where}: low, high and step must be numbers, such as {_EXAMPLE}")
    annotation = annotation_of(Config, without_indices(key))
    whole = takes(annotation, int) and not takes(annotation, float)
    if annotation is not None and not whole and not takes(annotation, float):
        raise JobError(f"{where} is not a number: give {{choices: [...]}}")
    if whole and not all(isinstance(number, int) for number in numbers):
        raise JobError(f"{where} is a whole number: low, high and step must be whole numbers")
    if not low < high:
        raise JobError(f"{where}: low ({low}) must be below high ({high})")
    if log not in (None, True, False) or (log and (step is not None or low <= 0)):
        raise JobError(f"{where}: log: true needs low above 0, and no step")
    if step is not None and not 0 < step <= high - low:
        raise JobError(f"{where}: step ({step}) must be above 0 and at most high - low")
    return Range(low, high, bool(log), step, whole)


def _check_searchable(where: str, key: str) -> None:
    if not isinstance(key, str):
        raise JobError(f"{where} is not a key of the configuration, such as optimizer.lr")
    if key.startswith("selection"):
        raise JobError(f"{where}: the score must be the same for all trials: set it on the command line, {key}=...")
    if key in _OTHER_DATA:
        raise JobError(f"{where}: scores of different data or seeds do not compare: remove it from the space")
    top = key.partition(".")[0]
    if top in ("name", "output", "wandb", "evaluation"):
        raise JobError(f"{where}: no result depends on it: remove it from the space, or set it on the command line")


def _check_values(where: str, key: str, values: Range | Choices, contents: Sequence[dict[str, Any]]) -> None:
    """Raise JobError unless one of `contents` has the key, and takes every choice or both ends of the range."""
    content = next((each for each in contents if has_place(each, key)), None)
    if content is None:
        if annotation_of(Config, without_indices(key)) is not None and without_indices(key) != key:
            return  # a key of a list entry that does not exist yet
        names = ", ".join(dict.fromkeys(each["objective"]["name"] for each in contents))
        raise JobError(f"{where} is not a setting of {names}: remove it, or add a method that has it to {METHOD}")
    for value in values.examples():
        settings = settings_of(str(value)) if key == METHOD else None
        if settings is not None and settings.labelled == TARGET:
            raise JobError(
                f"{where}: {value} learns from target labels: a search chooses without them; leave {value} out"
            )
        changed = json.loads(json.dumps(content))
        set_value(changed, key, value)
        build_config(changed, where.rpartition(": ")[0])


def _possible(key: str, content: Mapping[str, Any], base: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return configurations of every method, and of every list of terms, of the space that a key may apply to."""
    bases = [json.loads(json.dumps(base))]
    conditions = content[key].get("when") or {}
    for other in (METHOD, TERMS):
        choices = content[other].get("choices", []) if other in content and other != key else []
        choices = [choice for choice in choices if choice in conditions.get(other, choices)]
        bases = [changed for each in bases for changed in [each, *(_changed(each, other, value) for value in choices)]]
    return bases


def _changed(base: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(base))
    set_value(content, key, value)
    return content
