"""`python -m job compare`: finished runs side by side, and the share of the gap that adaptation closed."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import yaml

from job.config.schema import decisive_data, score_of
from job.evaluation.curves import Curve, mean_curve
from job.run_folder.metrics_file import read_metrics
from job.system.errors import JobError

LOWER, UPPER = "source_only", "train_on_target"
SOURCE, TARGET = "test/source_accuracy", "oracle/test_target_accuracy"
ORDER = (LOWER, "dann", UPPER)


def read_runs(folders: Sequence[Path]) -> list[dict]:
    """Objective, seed and summary of each run. Raises JobError for one that is not finished."""
    runs = []
    for folder in map(Path, folders):
        if (folder / "comparison.json").exists():  # of an earlier comparison, beside the runs
            continue
        try:
            config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
            summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise JobError(
                f"{folder} has a damaged summary.json ({error}): start the run again, it is finished"
            ) from None
        except FileNotFoundError as error:
            missing = Path(error.filename).name
            if missing == "summary.json":
                raise JobError(f"{folder} is not finished (it has no {missing}): wait, or start it again") from None
            hint = f"is no run folder (it has no {missing})" if folder.is_dir() else "does not exist"
            raise JobError(f"{folder} {hint}: give finished runs, such as runs/faces-*") from None
        if TARGET not in summary:
            raise JobError(f"{folder} has no {TARGET}: the target's test split has no labels to compare by")
        runs.append(
            {
                "run": str(folder),
                "objective": config["objective"]["name"],
                "seed": config["seed"],
                "recipe": {key: config.get(key) for key in ("model", "objective", "optimizer", "train")}
                | {"data": decisive_data(config.get("data") or {}), "selection": {"score": score_of(config)}},
                "shards": _shards(folder),
                **summary,
            }
        )
    return runs


def _shards(folder: Path) -> str | None:
    """Hash of the manifest that a run was trained on; None where its folder does not say."""
    try:
        return json.loads((folder / "facts.json").read_text(encoding="utf-8")).get("manifest")
    except (OSError, ValueError):
        return None


def compare(folders: Sequence[Path]) -> dict:
    """Mean and standard deviation over the seeds of each objective, and the share of the gap closed.

    The gap is what labels on the target would be worth: train_on_target minus source_only, in accuracy on the target's
    test split. Of 0 gap, nothing can be closed and the share is None.
    """
    runs = read_runs(folders)
    if not runs:
        raise JobError(f"{folders[0]} holds a comparison and no run: give finished runs, such as runs/faces-*")
    _check_comparable(runs)
    by_objective = {}
    for objective in sorted({run["objective"] for run in runs}, key=lambda o: (ORDER.index(o) if o in ORDER else 1, o)):
        members = [run for run in runs if run["objective"] == objective]
        by_objective[objective] = {
            "seeds": sorted(run["seed"] for run in members),
            "source": _spread([run[SOURCE] for run in members]),
            "target": _spread([run[TARGET] for run in members]),
        }
    if LOWER in by_objective and UPPER in by_objective:
        low, high = (by_objective[name]["target"]["mean"] for name in (LOWER, UPPER))
        for row in by_objective.values():
            row["gap_closed"] = (row["target"]["mean"] - low) / (high - low) if high > low else None
    return {"objectives": by_objective, "runs": runs}


def _check_comparable(runs: list[dict]) -> None:
    """Raise JobError unless runs of one objective differ in the seed alone, and all have the same data."""
    first: dict[str, dict] = {}
    seeds: dict[tuple[str, int], str] = {}
    for run in runs:
        name = (run["objective"], run["seed"])
        if name in seeds:
            raise JobError(f"{run['run']} and {seeds[name]} are both {name[0]} with seed {name[1]}: leave one out")
        seeds[name] = run["run"]
        other = first.setdefault(run["objective"], run)
        for section, recipe in run["recipe"].items():
            if recipe != other["recipe"][section]:
                one, two = recipe or {}, other["recipe"][section] or {}
                keys = ", ".join(f"{section}.{key}" for key in one | two if one.get(key) != two.get(key))
                raise JobError(
                    f"{run['run']} and {other['run']} differ in {keys or section}: their mean would mean nothing; "
                    "compare runs that differ in seed and objective only"
                )
    for run in runs:
        _check_same_data(run, runs[0])
    for run in runs:
        del run["recipe"], run["shards"]


def _check_same_data(run: dict, other: dict) -> None:
    if None not in (run["shards"], other["shards"]) and run["shards"] != other["shards"]:
        raise JobError(f"{run['run']} and {other['run']} were trained on other shards: compare runs on the same")
    for key in ("source", "target"):
        one, two = (each["recipe"]["data"].get(key) for each in (run, other))
        if one != two:
            raise JobError(
                f"{run['run']} has data.{key}={one} and {other['run']} {two}: compare runs on the same domains"
            )


def _spread(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.mean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}


def curves(comparison: dict, metrics: Sequence[str]) -> dict[str, dict[str, Curve]]:
    """Metric -> objective -> curve, from the metrics.jsonl of the runs compared; without those that nobody logged."""
    rows: dict[str, list[list[dict]]] = {}
    for run in comparison["runs"]:
        rows.setdefault(run["objective"], []).append(read_metrics(Path(run["run"]) / "metrics.jsonl"))
    found: dict[str, dict[str, Curve]] = {}
    for metric in metrics:
        for objective in comparison["objectives"]:
            curve = mean_curve(rows[objective], metric)
            if curve.steps:
                found.setdefault(metric, {})[objective] = curve
    return found


def table(comparison: dict) -> str:
    """The comparison as text."""
    lines = [f"{'objective':<17} {'seeds':>5}  {'source test':>15}  {'target test':>15}  {'gap closed':>10}"]
    for objective, row in comparison["objectives"].items():
        cells = []
        for domain in ("source", "target"):
            mean, std = row[domain]["mean"], row[domain]["std"]
            cells.append(f"{mean:.4f}" + (f" +- {std:.4f}" if len(row["seeds"]) > 1 else ""))
        gap = row.get("gap_closed")
        closed = "-" if gap is None else f"{100 * gap:.0f} %"
        lines.append(f"{objective:<17} {len(row['seeds']):>5}  {cells[0]:>15}  {cells[1]:>15}  {closed:>10}")
    return "\n".join(lines)
