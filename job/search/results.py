"""The result of a search: a table, search.json, trials.csv, best.yaml and a figure, in the folder of the study.

`score` is that of each trial. If the study compares by the ensemble, alone or in a sum, finished trials are ordered by
their agreement with it, or the sum.
"""

import csv
import io
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from job.config.load import build_config
from job.config.objectives import method_label
from job.evaluation.ensemble import ENSEMBLE, FEWEST_MODELS, agreement_in_order, read_predictions
from job.run_folder.stored_files import read_object
from job.search.comparison import has_ensemble, total
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


class Standing(NamedTuple):
    """What compares a finished trial with the others in a study that compares by the ensemble."""

    agreement: float  # with the ensemble, the mean over the trial's runs
    total: float  # of the sum that compares the trials; without a sum the agreement


def best_first(trials: list[FrozenTrial], standings: Mapping[int, Standing]) -> list[FrozenTrial]:
    """Return finished trials from the best to the worst, then the others by number; ties by number.

    The best has the highest total or, without standings, the highest score.
    """

    def value(trial: FrozenTrial) -> float:
        return standings[trial.number].total if trial.number in standings else score_of(trial) or 0.0

    return sorted(trials, key=lambda trial: (trial.state != TrialState.COMPLETE, -value(trial), trial.number))


def score_of(trial: FrozenTrial) -> float | None:
    """Return the score of a finished trial, or the highest so far of another one."""
    if trial.state == TrialState.COMPLETE:
        return trial.value
    return max(trial.intermediate_values.values(), default=None)


def table(study: Study, score: str) -> str:
    """Return the best trials as a table, with the number of trials in each state."""
    trials, found = study.trials(), standings(study)
    ordered = best_first(trials, found)
    names = [*([ENSEMBLE] if found else []), score]
    names = [study.compare_by, *names] if found and study.compare_by != ENSEMBLE else names
    rows = [["trial", *names, "", "settings"]]
    for trial in ordered[:_MOST_ROWS]:
        standing = found.get(trial.number)
        values = {score: score_of(trial)}
        if standing is not None:
            values |= {study.compare_by: standing.total, ENSEMBLE: standing.agreement}
        numbers = ["-" if values.get(name) is None else f"{values[name]:.4f}" for name in names]
        settings = describe(trial.user_attrs.get("values", {})) or "-"
        rows.append([str(trial.number), *numbers, _WORDS[trial.state], settings])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = []
    for *cells, state, settings in rows:
        numbers = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=False)]
        lines.append("  ".join([*numbers, f"{state:<{widths[-1]}}", settings]))
    counts = [f"{sum(trial.state == state for trial in trials)} {word}" for state, word in _WORDS.items()]
    lines.append(f"{len(trials)} trials: {', '.join(counts)}")
    if ordered and ordered[0].state == TrialState.COMPLETE:
        if has_ensemble(study.compare_by) and not found:
            lines.append(
                f"compared by {score}: an ensemble needs {FEWEST_MODELS} finished runs that stored predictions"
            )
        lines.append(f"best: trial {ordered[0].number}, {study.folder / 'best.yaml'}; scores need no target labels")
    return "\n".join(lines)


def standings(study: Study) -> dict[int, Standing]:
    """Return the standing of each finished trial, by number.

    The result is empty if the study does not compare by the ensemble, or as long as there is none.
    """
    if not has_ensemble(study.compare_by):
        return {}
    scores: dict[int, float | None] = {}
    runs: list[tuple[int, str, Path]] = []
    for trial in study.trials():
        if trial.state == TrialState.COMPLETE:
            scores[trial.number] = trial.value
            method = method_label(with_values(study.base, trial.user_attrs["values"])["objective"])
            runs += [(trial.number, method, run) for run in study.run_folders(trial.number)]
    found: dict[int, list[float]] = {}
    values = agreement_in_order([(method, _predictions(run)) for _, method, run in runs])
    for (number, _, _), value in zip(runs, values):
        found.setdefault(number, []).append(value)
    means = {number: sum(values) / len(values) for number, values in found.items()}
    return {number: Standing(mean, total(study.compare_by, mean, scores[number])) for number, mean in means.items()}


@cache
def _predictions(run: Path) -> np.ndarray | None:
    """Return the predictions of a finished run's chosen checkpoint on the target's validation images."""
    step = read_object(run / "summary.json").get("selection/chosen_step")
    return None if step is None else read_predictions(run, int(step))


def write_results(study: Study, score: str) -> None:
    """Write search.json, trials.csv and, once a trial has finished, best.yaml. Raises JobError if that fails."""
    trials, found = study.trials(), standings(study)
    ordered = best_first(trials, found)
    best = ordered[0] if ordered and ordered[0].state == TrialState.COMPLETE else None
    compared_by = study.compare_by if found else score
    content: dict[str, Any] = {
        "score": score,
        "compared_by": compared_by,
        "best": best and best.number,
        "trials": [_as_json(study, trial, found.get(trial.number)) for trial in trials],
    }
    with writing(study.folder, "make room, then run the same command again"):
        write_atomically(study.folder / "search.json", json.dumps(content, indent=1) + "\n")
        write_atomically(study.folder / "trials.csv", _as_csv(content["trials"]))
        if best is not None:
            value = f"{compared_by} {found[best.number].total if found else best.value:.4f}"
            write_atomically(study.folder / "best.yaml", best_configuration(study, best, value))


def best_configuration(study: Study, best: FrozenTrial, value: str) -> str:
    """Return the configuration with the values of the best trial, as YAML for `train`; `value` is its score."""
    content = with_values(study.original, best.user_attrs["values"]) | {"name": f"{study.folder.name}-best"}
    config = build_config(content, "best.yaml")
    head = f"# The best of {len(study.trials())} trials in {study.folder}: trial {best.number}, {value}\n"
    return f"{head}{config.to_yaml()}"


def _as_json(study: Study, trial: FrozenTrial, standing: Standing | None) -> dict[str, Any]:
    seconds = trial.duration.total_seconds() if trial.duration and trial.state != TrialState.RUNNING else None
    return {
        "trial": trial.number,
        "state": _WORDS[trial.state],
        "score": score_of(trial),
        **({} if standing is None else {ENSEMBLE: standing.agreement, "total": standing.total}),
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
    numbers = [name for name in ("score", ENSEMBLE, "total", "seconds") if any(name in trial for trial in trials)]
    writer.writerow(["trial", "state", *numbers, *keys])
    for trial in trials:
        values = [_short(trial["values"][key]) if key in trial["values"] else "" for key in keys]
        writer.writerow([trial["trial"], trial["state"], *(trial.get(name) for name in numbers), *values])
    return text.getvalue()
