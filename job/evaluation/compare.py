"""`python -m job compare`: compare finished runs, and compute the share of the gap that adaptation closes."""

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from job.config.objectives import method_label
from job.evaluation.compare_scores import CHOSEN, add_agreement, mean_scores
from job.evaluation.compare_settings import name_rows, network_of, settings_of_run, unlikeness
from job.evaluation.curves import Curve, mean_curve
from job.evaluation.doubts import adapts, against_baseline
from job.evaluation.intervals import difference, mean_interval, ratio_interval, seed_noise
from job.evaluation.protocol import protocol_of
from job.metric_names import STEP, TEST_SOURCE, TEST_TARGET, is_evaluation
from job.run_folder.metrics_file import read_metrics
from job.system.errors import JobError, first_line
from job.vocabulary import DOMAINS

LOWER, UPPER = "source_only", "train_on_target"  # the objectives that bound the gap
SOURCE, TARGET = TEST_SOURCE, TEST_TARGET


def read_runs(folders: Sequence[Path]) -> list[dict]:
    """Read method, seed, settings, summary and test counts of each run. Raise JobError if one is not finished."""
    runs = []
    for folder in map(Path, folders):
        if (folder / "comparison.json").exists():  # output of an earlier comparison beside the runs, not a run
            continue
        config, summary = _read(folder)
        runs.append(
            {
                "run": str(folder),
                "method": method_label(config["objective"]),
                "seed": config["seed"],
                "settings": settings_of_run(config),
                "shards": _shards(folder),
                "images": _test_counts(folder),
                **summary,
                "protocol": protocol_of(config),
            }
        )
    return runs


def _read(folder: Path) -> tuple[dict, dict]:
    """Read configuration and summary of a finished run. Raise JobError for any other folder."""
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        if not isinstance(summary, dict) or not isinstance(summary.get(SOURCE, summary.get(CHOSEN)), float | int):
            raise ValueError(f"it has no {SOURCE}")  # a run on shards without a source has at least CHOSEN
        if not isinstance(config, dict) or not isinstance(config.get("objective"), dict) or "seed" not in config:
            raise JobError(f"{folder} has a damaged config.yaml: restore it from the checkpoint's meta.json")
    except yaml.YAMLError as error:
        raise JobError(f"{folder} has a damaged config.yaml ({first_line(error)}): restore it") from None
    except ValueError as error:
        raise JobError(
            f"{folder} has a damaged summary.json ({error}): run the same command again to rewrite it"
        ) from None
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        if missing == "summary.json":
            raise JobError(f"{folder} is not finished (it has no {missing}): wait, or run it again to resume") from None
        problem = f"is not a run folder (it has no {missing})" if folder.is_dir() else "does not exist"
        raise JobError(f"{folder} {problem}: give finished runs, such as runs/faces-*") from None
    except OSError as error:
        raise JobError(f"cannot read {error.filename} ({error.strerror}): give finished runs") from None
    return config, summary


def _test_counts(folder: Path) -> dict[str, Any]:
    """Read the labelled test images of each role and the target predictions from evaluation/test.json, if present."""
    counts: dict[str, Any] = dict.fromkeys(DOMAINS)
    try:
        content = json.loads((folder / "evaluation" / "test.json").read_text(encoding="utf-8"))
        for role in DOMAINS:
            matrix = content[role]["confusion"]
            counts[role] = None if matrix is None else sum(map(sum, matrix))
        predicted = content["target"]["predicted"]
        shares = {name: count / sum(predicted) for name, count in zip(content["class_names"], predicted, strict=True)}
        entropy = content["target"]["mean_entropy"] / math.log(len(predicted))
    except (OSError, ValueError, TypeError, KeyError, ZeroDivisionError):
        return counts
    return counts | {"target_predictions": shares, "target_entropy": entropy}


def _shards(folder: Path) -> str | None:
    """Return the hash of the manifest that a run was trained on, or None when facts.json lacks it."""
    try:
        return json.loads((folder / "facts.json").read_text(encoding="utf-8")).get("manifest")
    except (OSError, ValueError):
        return None


def compare(folders: Sequence[Path]) -> dict:
    """Compare finished runs: mean, standard deviation and 95 % interval of each objective, and the gap that it closes.

    Runs of one method whose settings differ are objectives of their own, named by what differs.

    The gap is the gain from training with target labels: the accuracy of train_on_target minus that of source_only on
    the target test split. It is within noise if its 95 % interval, from the number of test images and the variation
    over seeds, contains 0; then `gap_closed` is None. Without target labels `target` is None.
    """
    runs = read_runs(folders)
    if not runs:
        raise JobError(f"{folders[0]} is a comparison and not a run: give finished runs, such as runs/faces-*")
    _check_comparable(runs)
    rows = name_rows(runs)
    members = {name: [run for run in runs if run["objective"] == name] for name in rows}
    names = sorted(rows, key=lambda name: _place(members[name][0]["method"]))
    by_objective: dict[str, dict] = {name: {"seeds": sorted(r["seed"] for r in members[name])} for name in names}
    for name in names:
        by_objective[name] |= {"settings": rows[name]} if rows[name] else {}
    for role, metric in zip(DOMAINS, (SOURCE, TARGET), strict=True):
        values = {name: [run[metric] for run in members[name] if metric in run] for name in names}
        noise = seed_noise(list(values.values()))
        for name in names:
            by_objective[name][role] = _spread(values[name], _images(members[name], role), noise)
    chosen = {run["run"]: _chosen_row(run) for run in runs}
    add_agreement(runs, chosen)
    for name in names:
        by_objective[name]["scores"] = mean_scores([chosen[run["run"]] for run in members[name]])
        by_objective[name]["network"] = network_of(members[name][0]["settings"])
    comparison = {"objectives": by_objective, "runs": runs, "protocol": runs[0]["protocol"]}
    comparison["doubts"] = _doubts(runs)
    for run in runs:
        del run["method"], run["settings"], run["shards"]
    if LOWER in by_objective and UPPER in by_objective and by_objective[LOWER]["target"] is not None:
        comparison["gap"] = _gap(by_objective)
    return comparison


def _place(method: str) -> tuple[bool, bool, str]:
    """Return a key that sorts methods between the two bounds."""
    return (method == UPPER, method != LOWER, method)


def _doubts(runs: Sequence[dict]) -> list[dict[str, Any]]:
    """Return the adapted runs whose scores without target labels are below those of source_only with the same seed.

    Where several are source_only with this seed, the baseline is the one whose settings are most alike. Runs of
    another network are none.
    """
    found = []
    for run in runs:
        network = network_of(run["settings"])
        same_seed = [each for each in runs if each["method"] == LOWER and each["seed"] == run["seed"]]
        baselines = [each for each in same_seed if network_of(each["settings"]) == network]
        if not baselines or not adapts(run["method"]):
            continue
        baseline = min(baselines, key=lambda each: unlikeness(each["settings"], run["settings"]))
        doubts = against_baseline(_chosen_row(run), _chosen_row(baseline))
        if doubts:
            scores = {one.score: [one.value, one.other] for one in doubts}
            found.append({"run": run["run"], "baseline": baseline["run"], "scores": scores})
    return found


def _chosen_row(run: dict) -> dict[str, Any]:
    """Return the metrics of a run at its chosen step, or nothing when metrics.jsonl lacks them."""
    rows = read_metrics(Path(run["run"]) / "metrics.jsonl")
    at = [row for row in rows if row[STEP] == run.get(CHOSEN) and is_evaluation(row)]
    return at[-1] if at else {}


def _images(members: Sequence[dict], role: str) -> int | None:
    """Return the smallest number of labelled test images among runs, or None when a run does not record it."""
    counts = [run["images"][role] for run in members]
    return None if None in counts else min(counts)


def _spread(values: list[float], images: int | None, noise: tuple[float, int]) -> dict[str, Any] | None:
    if not values:
        return None
    mean = statistics.mean(values)
    return {
        "mean": mean,
        "std": statistics.stdev(values) if len(values) > 1 else 0.0,
        "images": images,
        "interval": mean_interval(mean, images, len(values), noise),
    }


def _gap(by_objective: dict[str, dict]) -> dict[str, Any]:
    """Return the gap with its interval. Add to each objective the share that it closes, with its interval."""
    low, high = (by_objective[name]["target"] for name in (LOWER, UPPER))
    known = low["interval"] is not None and high["interval"] is not None
    value = high["mean"] - low["mean"]
    interval = difference(high["mean"], high["interval"], low["mean"], low["interval"]) if known else None
    within_noise = value <= 0 or (interval is not None and interval.low <= 0)
    for name, row in by_objective.items():
        target = row["target"]
        row["gap_closed"] = None if within_noise else (target["mean"] - low["mean"]) / value
        if not within_noise and known and name not in (LOWER, UPPER):
            three = ((each["mean"], each["interval"]) for each in (target, low, high))
            row["gap_closed_interval"] = ratio_interval(*three)
    return {"value": value, "interval": interval, "within_noise": within_noise, "images": low["images"]}


def _check_comparable(runs: list[dict]) -> None:
    """Raise JobError unless all runs have the same data and protocol, and the same target labels."""
    for run in runs:
        _check_same_data(run, runs[0])
    with_labels = {TARGET in run: run["run"] for run in runs}
    if len(with_labels) == 2:
        raise JobError(
            f"{with_labels[False]} has no {TARGET} and {with_labels[True]} has one: compare runs on shards "
            "with the same target labels"
        )


def _check_same_data(run: dict, other: dict) -> None:
    if run["protocol"] != other["protocol"]:
        raise JobError(
            f"{run['run']} has protocol={run['protocol']} and {other['run']} has {other['protocol']}: their results do "
            "not compare; compare runs of one protocol"
        )
    if None not in (run["shards"], other["shards"]) and run["shards"] != other["shards"]:
        raise JobError(
            f"{run['run']} and {other['run']} were trained on different shards: compare runs on the same shards"
        )
    for key in ("source", "target"):
        one, two = (each["settings"].get(f"data.{key}") for each in (run, other))
        if one != two:
            raise JobError(
                f"{run['run']} has data.{key}={one} and {other['run']} has {two}: compare runs on the same domains"
            )


def curves(comparison: dict, metrics: Sequence[str]) -> dict[str, dict[str, Curve]]:
    """Return metric -> objective -> curve, from metrics.jsonl of each run. Metrics without values are omitted."""
    rows: dict[str, list[list[dict]]] = {}
    for run in comparison["runs"]:
        rows.setdefault(run["objective"], []).append(read_metrics(Path(run["run"]) / "metrics.jsonl"))
    by_metric: dict[str, dict[str, Curve]] = {}
    for metric in metrics:
        for objective in comparison["objectives"]:
            curve = mean_curve(rows[objective], metric)
            if curve.steps:
                by_metric.setdefault(metric, {})[objective] = curve
    return by_metric
