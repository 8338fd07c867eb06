"""The scores of compared runs that need no target labels, and which objective they prefer."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from job.config.objectives import settings_of, without_settings
from job.evaluation.agreement import SELECTION
from job.evaluation.doubts import SOURCE_ACCURACY
from job.evaluation.ensemble import ENSEMBLE, FEWEST_MODELS, agreement_in_order, read_predictions
from job.evaluation.score_sums import COMPARISON, value_of
from job.vocabulary import TARGET

# Which errs least is measured in docs/training.md: the first; without the ensemble, transfer_score between methods and
# infomax among the settings of a method. The last does not follow the confidence of the predictions.
SCORES = (COMPARISON, ENSEMBLE, "transfer_score", "infomax", "mixval")
CHOSEN = "selection/chosen_step"
OF_ONE_NETWORK = "transfer_score"  # measures the features: those of different networks do not compare


def mean_scores(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the mean of each score over the chosen checkpoints of an objective; None if one of them lacks it.

    `rows` are the metrics at the chosen steps. Without a source, infomax lacks a part and cannot be compared.
    """
    found: dict[str, float | None] = {}
    for name in SCORES:
        whole = "infomax" not in name or all(SOURCE_ACCURACY in row for row in rows)
        values = [value for row in rows if (value := value_of(row, name)) is not None]
        found[name] = statistics.mean(values) if whole and values and len(values) == len(rows) else None
    return found


def add_agreement(runs: Sequence[Mapping[str, Any]], rows: Mapping[str, dict[str, Any]]) -> None:
    """Add the agreement with the ensemble to the chosen rows, by run, of runs that read no target labels.

    The runs were evaluated on the same images: the caller has checked shards, domains and protocol. Without the stored
    predictions of one of them nothing is added.
    """
    able = [run for run in runs if not reads_target_labels(run["method"])]
    if len({run["settings"].get("data.fold") for run in able}) > 1:
        return
    for run, value in zip(able, agreement_in_order([(run["method"], _predictions(run)) for run in able])):
        rows[run["run"]][SELECTION + ENSEMBLE] = value


def _predictions(run: Mapping[str, Any]) -> np.ndarray | None:
    step = run.get(CHOSEN)
    return None if step is None else read_predictions(Path(run["run"]), int(step))


def preferred(objectives: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return score -> the objective with its highest mean, among objectives that read no target labels.

    Scores that one of these lacks are left out, and so is transfer_score where their networks differ. With fewer than
    two of them there is nothing to choose, and the result is empty.
    """
    able = {name: row["scores"] for name, row in objectives.items() if not reads_target_labels(name)}
    if len(able) < 2:
        return {}
    several = _several_networks(objectives)
    return {
        score: max(able, key=lambda name: able[name][score])
        for score in SCORES
        if all(scores.get(score) is not None for scores in able.values()) and not (several and score == OF_ONE_NETWORK)
    }


def _several_networks(objectives: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether the networks of objectives that read no target labels differ."""
    networks = [row.get("network") for name, row in objectives.items() if not reads_target_labels(name)]
    return any(network != networks[0] for network in networks)


def reads_target_labels(objective: str) -> bool:
    """Return whether the method of a label such as `dann+mcc` is trained with labels of the target."""
    method = settings_of(objective)
    return method is not None and method.labelled == TARGET


def score_table(comparison: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of scores, headings first; empty where no objective has any."""
    objectives = comparison["objectives"]
    shown = [score for score in SCORES if any(row["scores"].get(score) is not None for row in objectives.values())]
    rows = [
        [name, *("-" if row["scores"].get(score) is None else f"{row['scores'][score]:.3f}" for score in shown)]
        for name, row in objectives.items()
    ]
    return [["objective", *shown], *rows] if shown else []


def preference(comparison: Mapping[str, Any]) -> list[str]:
    """Return one sentence that says which objective the scores prefer; nothing where there is no choice."""
    objectives = comparison["objectives"]
    chosen = preferred(objectives)
    if not chosen:
        return []
    by_objective: dict[str, list[str]] = {}
    for score, name in chosen.items():
        by_objective.setdefault(name, []).append(score)
    parts = [f"{_listed(scores)} prefer{'s' * (len(scores) == 1)} {name}" for name, scores in by_objective.items()]
    best, among = next(iter(chosen)), "between methods"
    if len({without_settings(name) for name in objectives if not reads_target_labels(name)}) == 1:
        among = "among the settings of a method"
        best = "infomax" if best == OF_ONE_NETWORK and "infomax" in chosen else best
    advice = "" if len(by_objective) == 1 else f"; {among} {best} errs least (docs/training.md)"
    if COMPARISON not in chosen:
        advice += f"; {COMPARISON} needs {FEWEST_MODELS} runs that all stored predictions"
    if _several_networks(objectives):
        advice += f"; {OF_ONE_NETWORK} does not compare different networks"
    return [f"without target labels: {', '.join(parts)}{advice}"]


def _listed(names: Sequence[str]) -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
