"""Collect accuracy, share of the gap, regret and cost from the runs and searches of the study. Reads target labels."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.study_shifts import Shift
from job.evaluation.compare import LOWER, UPPER
from job.metric_names import TEST_SOURCE, TEST_TARGET
from job.run_folder.metrics_file import read_metrics
from job.run_folder.stored_files import read_object

ORACLE, STEP_TIME = "oracle/target_accuracy", "speed/step_p50_ms"


def collect(output: Path, shifts: Sequence[Shift], methods: Sequence[str]) -> dict[str, Any]:
    """Return shift -> method -> figures, of the runs that have finished."""
    found = {}
    for shift in shifts:
        rows = {method: _method(output, shift.name, method) for method in methods}
        found[shift.name] = {"title": shift.title, "methods": _relative({m: row for m, row in rows.items() if row})}
    return {name: shift for name, shift in found.items() if shift["methods"]}


def _method(output: Path, shift: str, method: str) -> dict[str, Any] | None:
    runs = [
        path for path in output.glob(f"{shift}-{method}-*") if path.name.removeprefix(f"{shift}-{method}-").isdigit()
    ]
    summaries = {int(path.name.rpartition("-")[2]): read_object(path / "summary.json") for path in sorted(runs)}
    summaries = {seed: summary for seed, summary in sorted(summaries.items()) if TEST_TARGET in summary}
    if not summaries:
        return None
    accuracies = [summary[TEST_TARGET] for summary in summaries.values()]
    search = output / f"{shift}-{method}-search"
    content = read_object(search / "search.json")
    chosen = next((trial for trial in content.get("trials", ()) if trial["trial"] == content.get("best")), None)
    return {
        "seeds": list(summaries),
        "target": accuracies,
        "target_mean": statistics.mean(accuracies),
        "target_std": statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
        "source_mean": statistics.mean(summary[TEST_SOURCE] for summary in summaries.values()),
        "step_ms": statistics.median(summary[STEP_TIME] for summary in summaries.values() if STEP_TIME in summary),
        "settings": chosen["values"] if chosen else {},
        "regret": regret([Path(trial["run"]) for trial in content["trials"]], Path(chosen["run"])) if chosen else None,
        "regret_of_checkpoints": statistics.mean(
            regret([path], path) for path in runs if (path / "summary.json").exists()
        ),
    }


def regret(runs: Sequence[Path], chosen: Path) -> float:
    """Return how much higher than the chosen checkpoint's the highest validation accuracy on the target is.

    It is taken over all evaluations of all runs, pruned ones included.
    """
    every = [row[ORACLE] for run in runs for row in read_metrics(run / "metrics.jsonl") if ORACLE in row]
    step = read_object(chosen / "summary.json").get("selection/chosen_step")
    own = [
        row[ORACLE] for row in read_metrics(chosen / "metrics.jsonl") if row["trainer/step"] == step and ORACLE in row
    ]
    return max(every) - own[-1]


def _relative(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Add the share of the gap, its lowest over the seeds, and the cost of a step relative to source_only's."""
    low, high = rows.get(LOWER), rows.get(UPPER)
    for row in rows.values():
        if low and high and high["target_mean"] > low["target_mean"]:
            gap = high["target_mean"] - low["target_mean"]
            row["gap_closed"] = (row["target_mean"] - low["target_mean"]) / gap
            row["gap_closed_lowest"] = (min(row["target"]) - low["target_mean"]) / gap
        if low:
            row["cost"] = row["step_ms"] / low["step_ms"]
    return json.loads(json.dumps(rows))
