"""Common results of the runs of a cross-validation, by method: over all folds, by fold and class, differences."""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from job.crossval.plan import Cell, Plan
from job.evaluation.predictions import Predictions
from job.evaluation.results.bootstrap import clusters_of
from job.evaluation.results.describe import describe_domain
from job.evaluation.results.pair import paired_interval
from job.vocabulary import DOMAINS, TARGET

Measured = Sequence[tuple[Cell, dict[str, Predictions]]]


def results_of(plan: Plan, measured: Measured) -> dict[str, Any]:
    """Return the results as JSON types. A domain without test labels is None.

    The predictions of all folds count together: held out, each image is predicted once per seed. Intervals are a
    bootstrap of the subjects; the seeds of an image are averaged. `std` is the deviation over the seeds.
    """
    class_names = measured[0][1][TARGET].class_names
    content: dict[str, Any] = {
        "folds": plan.folds,
        "seeds": plan.seeds,
        "protocol": plan.protocol,
        "class_names": list(class_names),
        "methods": {},
    }
    for method in plan.methods:
        own = [(cell, found) for cell, found in measured if cell.method == method]
        content["methods"][method] = {role: _domain(plan, own, role, class_names) for role in DOMAINS}
    content["differences"] = _differences(plan, measured)
    content["runs"] = [_run(cell, found) for cell, found in measured]
    return content


def _domain(plan: Plan, own: Measured, role: str, class_names: Sequence[str]) -> dict[str, Any] | None:
    labelled = [(cell, found[role]) for cell, found in own if role in found and (found[role].rows.labels >= 0).any()]
    if not labelled:
        return None
    described = describe_domain(clusters_of([(each.rows, each.subjects) for _, each in labelled]), class_names)
    described["predictions"] = described.pop("images")
    keys = {key for _, each in labelled for key, label in zip(each.rows.keys, each.rows.labels.tolist()) if label >= 0}
    by_seed = [_accuracy([each for cell, each in labelled if cell.seed == seed]) for seed in plan.seeds]
    described |= {
        "images": len(keys),
        "by_seed": dict(zip(map(str, plan.seeds), by_seed)),
        "std": statistics.stdev(by_seed) if len(by_seed) > 1 else None,
        "by_fold": [_fold([each for cell, each in labelled if cell.fold == fold]) for fold in range(plan.folds)],
    }
    return described


def _fold(found: Sequence[Predictions]) -> dict[str, Any] | None:
    if not found:
        return None
    subjects = {subject for each in found for subject in each.subjects if subject}
    images = {key for each in found for key in each.rows.keys}
    return {"images": len(images), "subjects": len(subjects), "accuracy": _accuracy(found)}


def _accuracy(found: Sequence[Predictions]) -> float:
    """Return the accuracy on all labelled images of several predictions together."""
    return float(np.concatenate([_right(each) for each in found]).mean())


def _right(each: Predictions) -> np.ndarray:
    known = each.rows.labels >= 0
    right: np.ndarray = (each.rows.predicted[known] == each.rows.labels[known]).astype(float)
    return right


def _names(each: Predictions) -> list[str]:
    """Return the cluster of each labelled row: its subject, or its key."""
    rows = zip(each.subjects, each.rows.keys, each.rows.labels.tolist())
    return [subject or key for subject, key, label in rows if label >= 0]


def _differences(plan: Plan, measured: Measured) -> dict[str, dict[str, Any]]:
    """Return the accuracy on the target of each method minus that of the first, paired by image, fold and seed."""
    by_cell = {(cell.method, cell.fold, cell.seed): found[TARGET] for cell, found in measured}
    first, differences = plan.methods[0], {}
    for method in plan.methods[1:]:
        values, names = [], []
        for fold in range(plan.folds):
            for seed in plan.seeds:
                one, other = by_cell[first, fold, seed], by_cell[method, fold, seed]
                values.append(_right(other) - _right(one))
                names += _names(one)
        joined = np.concatenate(values)
        if len(joined):
            differences[method] = {
                "minus": first,
                "value": float(joined.mean()),
                "interval": paired_interval(joined, names),
            }
    return differences


def _run(cell: Cell, found: dict[str, Predictions]) -> dict[str, Any]:
    content: dict[str, Any] = {"run": str(cell.folder), "method": cell.method, "fold": cell.fold, "seed": cell.seed}
    for role, each in found.items():
        content[role] = _accuracy([each]) if (each.rows.labels >= 0).any() else None
    return content
