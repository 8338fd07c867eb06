"""Draw the figure of a search: the scores of the trials in order, and over each searched key."""

import math
from pathlib import Path
from typing import Any

import optuna
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter
from optuna.trial import FrozenTrial, TrialState

from job.monitor.colours import GREY, SOURCE, TARGET
from job.monitor.figures.style import FAINT, INK, new_figure
from job.search.results import best_first, score_of, standings
from job.search.space import Range
from job.search.study import Study
from job.system.files import atomic_path

_COLUMNS = 3
_MOST_KEYS = 11
_COLOURS = {TrialState.COMPLETE: SOURCE, TrialState.PRUNED: GREY, TrialState.FAIL: TARGET, TrialState.RUNNING: GREY}


def draw_search(study: Study, score: str, path: Path) -> None:
    """Write a PNG to `path`; write nothing while no trial has a score."""
    trials = [trial for trial in study.trials() if score_of(trial) is not None]
    if not trials:
        return
    importances = _importances(study)
    used = {key for trial in trials for key in trial.user_attrs.get("values", {})}  # others are of other methods
    keys = sorted(used & study.space.keys.keys(), key=list(study.space.keys).index)
    keys = sorted(keys, key=lambda key: -importances.get(key, 0))[:_MOST_KEYS]
    rows = math.ceil((len(keys) + 1) / _COLUMNS)
    figure = new_figure(4 * _COLUMNS, 3 * rows)
    every = figure.subplots(rows, _COLUMNS, squeeze=False).flatten()
    _draw_order(every[0], trials, score)
    _mark_best(every[0], study)
    every[0].legend(fontsize=7)
    for axes, key in zip(every[1:], keys, strict=False):
        _draw_key(axes, study, trials, key)
        share = f", importance {importances[key]:.2f}" if key in importances else ""
        axes.set_title(f"{key}{share}", fontsize=8)
        axes.set_ylabel(score)
    for axes in every[len(keys) + 1 :]:
        axes.set_axis_off()
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png")


def _importances(study: Study) -> dict[str, float]:
    """Return the importance of the keys that all finished trials have; {} if there are too few trials."""
    finished = [trial for trial in study.trials() if trial.state == TrialState.COMPLETE]
    if len(finished) < 4 or len({trial.value for trial in finished}) < 2:
        return {}
    try:
        return optuna.importance.get_param_importances(
            study.optuna, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
        )
    except (ValueError, RuntimeError):  # no key varies in all trials
        return {}


def _draw_order(axes: Axes, trials: list[FrozenTrial], score: str) -> None:
    best, line = -math.inf, []
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            best = max(best, score_of(trial) or -math.inf)
        line.append(best if best > -math.inf else math.nan)
    axes.step([trial.number for trial in trials], line, where="post", color=FAINT, label="best so far")
    for state, word in ((TrialState.COMPLETE, "finished"), (TrialState.PRUNED, "pruned"), (TrialState.FAIL, "failed")):
        of_state = [trial for trial in trials if trial.state == state]
        if of_state:
            numbers, values = [trial.number for trial in of_state], [score_of(trial) or 0.0 for trial in of_state]
            axes.plot(numbers, values, "o", color=_COLOURS[state], markersize=4, label=word)
    axes.set(title="scores of the trials", xlabel="trial", ylabel=score)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(True)


def _mark_best(axes: Axes, study: Study) -> None:
    """Put a ring around the best finished trial, which need not have the highest score: the ensemble may choose it."""
    found = standings(study)
    best = best_first(study.trials(), found)[0]
    if best.state == TrialState.COMPLETE:
        label = f"best by {study.compare_by}" if found else "best"
        axes.plot(
            [best.number],
            [score_of(best) or 0.0],
            "o",
            markersize=9,
            markerfacecolor="none",
            markeredgecolor=INK,
            label=label,
        )


def _draw_key(axes: Axes, study: Study, trials: list[FrozenTrial], key: str) -> None:
    values = study.space.keys[key]
    shown = [trial for trial in trials if key in trial.user_attrs.get("values", {})]
    points: list[Any] = [trial.user_attrs["values"][key] for trial in shown]
    if isinstance(values, Range):
        if values.log:
            axes.set_xscale("log")
            axes.set_xlim(values.low / 1.1, values.high * 1.1)
            axes.xaxis.set_major_formatter("{x:g}")  # the default formatter needs mathtext
            axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        names = [_label(value) for value in values.values]
        axes.set_xticks(range(len(names)), names, rotation=30 if max(map(len, names)) > 6 else 0, fontsize=7)
        axes.set_xlim(-0.5, len(names) - 0.5)
        points = [values.values.index(value) for value in points]
    axes.scatter(
        points, [score_of(trial) or 0.0 for trial in shown], s=16, c=[_COLOURS[trial.state] for trial in shown]
    )
    axes.grid(True)


def _label(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):  # objective.also
        return "+".join(f"{entry.get('name')} {entry.get('weight', '')}".strip() for entry in value) or "none"
    return str(value)
