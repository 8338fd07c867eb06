"""Draw the figure of a search: the scores of the trials in order, and over each searched key."""

import math
from collections.abc import Mapping
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
_FEWEST_FOR_IMPORTANCE = 10  # finished trials
_COLOURS = {TrialState.COMPLETE: SOURCE, TrialState.PRUNED: GREY, TrialState.FAIL: TARGET, TrialState.RUNNING: GREY}


def draw_search(study: Study, score: str, path: Path) -> None:
    """Write a PNG to `path`; write nothing while no trial has a score.

    It draws what compares the trials: their totals, of finished trials only, or their scores.
    """
    found = standings(study)
    values = {number: standing.total for number, standing in found.items()}
    values = values or {trial.number: value for trial in study.trials() if (value := score_of(trial)) is not None}
    trials = [trial for trial in study.trials() if trial.number in values]
    if not trials:
        return
    score = study.compare_by if found else score
    best = best_first(trials, found)[0]
    importances = _importances(study, values)
    used = {key for trial in trials for key in trial.user_attrs.get("values", {})}  # others are of other methods
    keys = sorted(used & study.space.keys.keys(), key=list(study.space.keys).index)
    keys = sorted(keys, key=lambda key: -importances.get(key, 0))[:_MOST_KEYS]
    rows = math.ceil((len(keys) + 1) / _COLUMNS)
    figure = new_figure(4 * _COLUMNS, 3 * rows)
    every = figure.subplots(rows, _COLUMNS, squeeze=False).flatten()
    _draw_order(every[0], trials, values, score)
    if best.state == TrialState.COMPLETE:
        _ring(every[0], best.number, values[best.number])
    every[0].legend(fontsize=7)
    for axes, key in zip(every[1:], keys, strict=False):
        _draw_key(axes, study, trials, values, key)
        share = f", importance {importances[key]:.2f}" if key in importances else ""
        axes.set_title(f"{key}{share}", fontsize=8)
        axes.set_ylabel(score)
    for axes in every[len(keys) + 1 :]:
        axes.set_axis_off()
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png")


def _importances(study: Study, values: Mapping[int, float]) -> dict[str, float]:
    """Return the importance of the keys that all finished trials have; {} if there are too few trials."""
    finished = [trial for trial in study.trials() if trial.state == TrialState.COMPLETE]
    if len(finished) < _FEWEST_FOR_IMPORTANCE or len({values[trial.number] for trial in finished}) < 2:
        return {}
    try:
        return optuna.importance.get_param_importances(
            study.optuna,
            evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
            target=lambda trial: values[trial.number],
        )
    except (ValueError, RuntimeError):  # no key varies in all trials
        return {}


def _draw_order(axes: Axes, trials: list[FrozenTrial], values: Mapping[int, float], score: str) -> None:
    best, line = -math.inf, []
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            best = max(best, values[trial.number])
        line.append(best if best > -math.inf else math.nan)
    axes.step([trial.number for trial in trials], line, where="post", color=FAINT, label="best so far")
    for state, word in ((TrialState.COMPLETE, "finished"), (TrialState.PRUNED, "pruned"), (TrialState.FAIL, "failed")):
        of_state = [trial for trial in trials if trial.state == state]
        if of_state:
            numbers = [trial.number for trial in of_state]
            axes.plot(numbers, [values[each] for each in numbers], "o", color=_COLOURS[state], markersize=4, label=word)
    axes.set(title="scores of the trials", xlabel="trial", ylabel=score)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(True)


def _ring(axes: Axes, number: int, value: float) -> None:
    """Put a ring around the best finished trial."""
    axes.plot([number], [value], "o", markersize=9, markerfacecolor="none", markeredgecolor=INK, label="best")


def _draw_key(axes: Axes, study: Study, trials: list[FrozenTrial], values: Mapping[int, float], key: str) -> None:
    choices = study.space.keys[key]
    shown = [trial for trial in trials if key in trial.user_attrs.get("values", {})]
    points: list[Any] = [trial.user_attrs["values"][key] for trial in shown]
    if isinstance(choices, Range):
        if choices.log:
            axes.set_xscale("log")
            axes.set_xlim(choices.low / 1.1, choices.high * 1.1)
            axes.xaxis.set_major_formatter("{x:g}")  # the default formatter needs mathtext
            axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        names = [_label(value) for value in choices.values]
        axes.set_xticks(range(len(names)), names, fontsize=7)
        if max(map(len, names)) > 6:
            axes.tick_params(axis="x", rotation=30)
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        axes.set_xlim(-0.5, len(names) - 0.5)
        points = [choices.values.index(value) for value in points]
    heights = [values[trial.number] for trial in shown]
    axes.scatter(points, heights, s=16, c=[_COLOURS[trial.state] for trial in shown])
    axes.grid(True)


def _label(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):  # objective.also
        return "+".join(f"{entry.get('name')} {entry.get('weight', '')}".strip() for entry in value) or "none"
    return str(value)
