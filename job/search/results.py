"""The result of a search: a table, search.json, trials.csv, best.yaml and a figure, in the folder of the study.

`score` is that of each trial; if the study compares by the ensemble, finished trials are ordered by their agreement.
"""

import csv
import io
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from job.config.load import build_config
from job.config.objectives import method_label
from job.evaluation.ensemble import ENSEMBLE, FEWEST_MODELS, agreement, read_predictions
from job.run_folder.stored_files import read_object
from job.search.study import Study
from job.search.values import with_values
from job.system.files import write_atomically, writing

_WORDS = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
}
_MOST_ROWS = 15


def describe(values: Mapping[str, Any]) -> str:
    """Return values as words of the command line: ``optimizer.lr=0.003 objective.lambda_max=0.5``."""
    return " ".join(f"{key}={_short(value)}" for key, value in values.items())


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def best_first(trials: list[FrozenTrial], agreements: Mapping[int, float] | None = None) -> list[FrozenTrial]:
    """Return finished trials from the best to the worst, then the others by number; ties by number.

    The best has the highest agreement with the ensemble or, without `agreements`, the highest score.
    """

    def value(trial: FrozenTrial) -> float:
        return agreements[trial.number] if agreements and trial.number in agreements else score_of(trial) or 0.0

    return sorted(trials, key=lambda trial: (trial.state != TrialState.COMPLETE, -value(trial), trial.number))


def score_of(trial: FrozenTrial) -> float | None:
    """Return the score of a finished trial, or the highest so far of another one."""
    if trial.state == TrialState.COMPLETE:
        return trial.value
    return max(trial.intermediate_values.values(), default=None)


def table(study: Study, score: str) -> str:
    """Return the best trials as a table, with the number of trials in each state."""
    trials, agreements = study.trials(), agreements_of(study)
    ordered = best_first(trials, agreements)
    rows = [["trial", *[ENSEMBLE] * bool(agreements), score, "", "settings"]]
    for trial in ordered[:_MOST_ROWS]:
        values = [*[agreements.get(trial.number)] * bool(agreements), score_of(trial)]
        settings = describe(trial.user_attrs.get("values", {})) or "-"
        numbers = ["-" if value is None else f"{value:.4f}" for value in values]
        rows.append([str(trial.number), *numbers, _WORDS[trial.state], settings])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = []
    for *cells, state, settings in rows:
        numbers = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=False)]
        lines.append("  ".join([*numbers, f"{state:<{widths[-1]}}", settings]))
    counts = [f"{sum(trial.state == state for trial in trials)} {word}" for state, word in _WORDS.items()]
    lines.append(f"{len(trials)} trials: {', '.join(counts)}")
    if ordered and ordered[0].state == TrialState.COMPLETE:
        if study.compare_by == ENSEMBLE and not agreements:
            lines.append(
                f"compared by {score}: an ensemble needs {FEWEST_MODELS} finished runs that stored predictions"
            )
        lines.append(f"best: trial {ordered[0].number}, {study.folder / 'best.yaml'}; scores need no target labels")
    return "\n".join(lines)


def agreements_of(study: Study) -> dict[int, float]:
    """Return each finished trial's agreement with the ensemble, the mean over its runs.

    The result is empty if the study compares by another score, or as long as there is no ensemble.
    """
    if study.compare_by != ENSEMBLE:
        return {}
    numbers: dict[str, list[int]] = {}  # of the trials of each method, one for each run
    models: dict[str, list[np.ndarray | None]] = {}
    for trial in study.trials():
        if trial.state == TrialState.COMPLETE:
            label = method_label(with_values(study.base, trial.user_attrs["values"])["objective"])
            for run in study.run_folders(trial.number):
                numbers.setdefault(label, []).append(trial.number)
                models.setdefault(label, []).append(_predictions(run))
    found: dict[int, list[float]] = {}
    for label, values in agreement(models).items():
        for number, value in zip(numbers[label], values, strict=True):
            found.setdefault(number, []).append(value)
    return {number: sum(values) / len(values) for number, values in found.items()}


@cache
def _predictions(run: Path) -> np.ndarray | None:
    """Return the predictions of a finished run's chosen checkpoint on the target's validation images."""
    step = read_object(run / "summary.json").get("selection/chosen_step")
    return None if step is None else read_predictions(run, int(step))


def write_results(study: Study, score: str) -> None:
    """Write search.json, trials.csv and, once a trial has finished, best.yaml. Raises JobError if that fails."""
    trials, agreements = study.trials(), agreements_of(study)
    ordered = best_first(trials, agreements)
    best = ordered[0] if ordered and ordered[0].state == TrialState.COMPLETE else None
    compared_by = ENSEMBLE if agreements else score
    content: dict[str, Any] = {
        "score": score,
        "compared_by": compared_by,
        "best": best and best.number,
        "trials": [_as_json(study, trial, agreements) for trial in trials],
    }
    with writing(study.folder, "make room, then run the same command again"):
        write_atomically(study.folder / "search.json", json.dumps(content, indent=1) + "\n")
        write_atomically(study.folder / "trials.csv", _as_csv(content["trials"]))
        if best is not None:
            value = f"{compared_by} {agreements.get(best.number, best.value):.4f}"
            write_atomically(study.folder / "best.yaml", best_configuration(study, best, value))


def best_configuration(study: Study, best: FrozenTrial, value: str) -> str:
    """Return the configuration with the values of the best trial, as YAML for `train`; `value` is its score."""
    content = with_values(study.original, best.user_attrs["values"]) | {"name": f"{study.folder.name}-best"}
    config = build_config(content, "best.yaml")
    head = f"# The best of {len(study.trials())} trials in {study.folder}: trial {best.number}, {value}\n"
    return f"{head}{config.to_yaml()}"


def _as_json(study: Study, trial: FrozenTrial, agreements: Mapping[int, float]) -> dict[str, Any]:
    seconds = trial.duration.total_seconds() if trial.duration and trial.state != TrialState.RUNNING else None
    return {
        "trial": trial.number,
        "state": _WORDS[trial.state],
        "score": score_of(trial),
        **({ENSEMBLE: agreements.get(trial.number)} if agreements else {}),
        "seconds": seconds,
        "run": str(study.trial_folder(trial.number)),
        "values": trial.user_attrs.get("values", {}),
        "reason": trial.user_attrs.get("reason"),
        "scores": {str(step): value for step, value in sorted(trial.intermediate_values.items())},
    }


def _as_csv(trials: list[dict[str, Any]]) -> str:
    keys = list(dict.fromkeys(key for trial in trials for key in trial["values"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    numbers = [name for name in ("score", ENSEMBLE, "seconds") if any(name in trial for trial in trials)]
    writer.writerow(["trial", "state", *numbers, *keys])
    for trial in trials:
        values = [_short(trial["values"][key]) if key in trial["values"] else "" for key in keys]
        writer.writerow([trial["trial"], trial["state"], *(trial[name] for name in numbers), *values])
    return text.getvalue()
