"""The result of a search: a table, search.json, trials.csv, best.yaml and a figure, in the folder of the study."""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from job.config.load import build_config
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


def best_first(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return finished trials from the highest score to the lowest, then the others by number; ties by number."""
    return sorted(
        trials, key=lambda trial: (trial.state != TrialState.COMPLETE, -(score_of(trial) or 0.0), trial.number)
    )


def score_of(trial: FrozenTrial) -> float | None:
    """Return the score of a finished trial, or the highest so far of another one."""
    if trial.state == TrialState.COMPLETE:
        return trial.value
    return max(trial.intermediate_values.values(), default=None)


def table(study: Study, score: str) -> str:
    """Return the best trials as a table, with the number of trials in each state."""
    trials = study.trials()
    ordered = best_first(trials)
    rows = [("trial", score, "", "settings")]
    for trial in ordered[:_MOST_ROWS]:
        value = score_of(trial)
        settings = describe(trial.user_attrs.get("values", {})) or "-"
        rows.append((str(trial.number), "-" if value is None else f"{value:.4f}", _WORDS[trial.state], settings))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{one:>{widths[0]}}  {two:>{widths[1]}}  {three:<{widths[2]}}  {four}" for one, two, three, four in rows]
    counts = [f"{sum(trial.state == state for trial in trials)} {word}" for state, word in _WORDS.items()]
    lines.append(f"{len(trials)} trials: {', '.join(counts)}")
    if ordered and ordered[0].state == TrialState.COMPLETE:
        lines.append(f"best: trial {ordered[0].number}, {study.folder / 'best.yaml'}; scores need no target labels")
    return "\n".join(lines)


def write_results(study: Study, score: str) -> None:
    """Write search.json, trials.csv and, once a trial has finished, best.yaml. Raises JobError if that fails."""
    trials = study.trials()
    ordered = best_first(trials)
    best = ordered[0] if ordered and ordered[0].state == TrialState.COMPLETE else None
    content: dict[str, Any] = {
        "score": score,
        "best": best and best.number,
        "trials": [_as_json(study, trial) for trial in trials],
    }
    with writing(study.folder, "make room, then run the same command again"):
        write_atomically(study.folder / "search.json", json.dumps(content, indent=1) + "\n")
        write_atomically(study.folder / "trials.csv", _as_csv(content["trials"]))
        if best is not None:
            write_atomically(study.folder / "best.yaml", best_configuration(study, best, score))


def best_configuration(study: Study, best: FrozenTrial, score: str) -> str:
    """Return the configuration with the values of the best trial, as YAML for `train`."""
    content = with_values(study.original, best.user_attrs["values"]) | {"name": f"{study.folder.name}-best"}
    config = build_config(content, "best.yaml")
    head = (
        f"# The best of {len(study.trials())} trials in {study.folder}: trial {best.number}, {score} {best.value:.4f}\n"
    )
    return f"{head}{config.to_yaml()}"


def _as_json(study: Study, trial: FrozenTrial) -> dict[str, Any]:
    seconds = trial.duration.total_seconds() if trial.duration and trial.state != TrialState.RUNNING else None
    return {
        "trial": trial.number,
        "state": _WORDS[trial.state],
        "score": score_of(trial),
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
    writer.writerow(["trial", "state", "score", "seconds", *keys])
    for trial in trials:
        values = [_short(trial["values"][key]) if key in trial["values"] else "" for key in keys]
        writer.writerow([trial["trial"], trial["state"], trial["score"], trial["seconds"], *values])
    return text.getvalue()
