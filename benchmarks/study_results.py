"""Collect accuracy, share of the gap and regret from the runs and searches of the study. Reads target labels."""

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

ORACLE = "oracle/target_accuracy"


def collect(output: Path, shifts: Sequence[Shift], methods: Sequence[str]) -> dict[str, Any]:
    """Return shift -> method -> figures, of the runs that have finished."""
    found = {}
    for shift in shifts:
        rows = {method: _method(output, shift.name, method) for method in methods}
        found[shift.name] = {"title": shift.title, "methods": _relative({m: row for m, row in rows.items() if row})}
    return {name: shift for name, shift in found.items() if shift["methods"]}


def join(earlier: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Add figures to those of an earlier result: shifts, methods, and seeds of methods that have the same settings.

    A method with other settings than before replaces the earlier one. The shares of the gap are computed anew.
    """
    joined = {}
    for name in dict.fromkeys([*earlier, *found]):
        old, new = (each.get(name, {"methods": {}}) for each in (earlier, found))
        methods = {
            **old["methods"],
            **{m: _with_seeds(old["methods"].get(m), row) for m, row in new["methods"].items()},
        }
        order = sorted(methods, key=lambda method: (method == UPPER, method != LOWER))  # the bounds around the others
        rows = _relative({method: methods[method] for method in order})
        joined[name] = {"title": (new if "title" in new else old)["title"], "methods": rows}
    return joined


def _with_seeds(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a method, with the seeds that only its earlier row has."""
    if old is None or old["settings"] != new["settings"]:
        return new
    by_seed = dict(zip(old["seeds"], old["target"], strict=True)) | dict(zip(new["seeds"], new["target"], strict=True))
    seeds, counts = sorted(by_seed), (len(old["seeds"]), len(new["seeds"]))
    mean = {
        key: (old[key] * counts[0] + new[key] * counts[1]) / sum(counts)
        for key in ("source_mean", "regret_of_checkpoints")
    }
    kept = {key: old[key] if new[key] is None else new[key] for key in ("as_configured", "regret")}
    return new | mean | kept | {"seeds": seeds} | _spread([by_seed[seed] for seed in seeds])


def _spread(accuracies: list[float]) -> dict[str, Any]:
    deviation = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    return {"target": accuracies, "target_mean": statistics.mean(accuracies), "target_std": deviation}


def search_name(shift: str, method: str) -> str:
    """Return the name of the search of a method on a shift."""
    return f"{shift}-{method}-search"


def _method(output: Path, shift: str, method: str) -> dict[str, Any] | None:
    search = output / search_name(shift, method)
    content = read_object(search / "search.json")
    chosen = next((trial for trial in content.get("trials", ()) if trial["trial"] == content.get("best")), None)
    trials = [search / Path(trial["run"]).name for trial in content.get("trials", ())]
    runs = {0: search / Path(chosen["run"]).name} if chosen else {}  # the best trial
    for path in output.glob(f"{shift}-{method}-*"):
        seed = path.name.removeprefix(f"{shift}-{method}-")
        if seed.isdigit():
            runs[int(seed)] = path
    summaries = {seed: read_object(runs[seed] / "summary.json") for seed in sorted(runs)}
    summaries = {seed: summary for seed, summary in summaries.items() if TEST_TARGET in summary}
    if not summaries:
        return None
    accuracies = [summary[TEST_TARGET] for summary in summaries.values()]
    return {
        "seeds": list(summaries),
        **_spread(accuracies),
        "source_mean": statistics.mean(summary[TEST_SOURCE] for summary in summaries.values()),
        "as_configured": _as_configured(search) if chosen else None,
        "settings": chosen["values"] if chosen else {},
        "regret": regret(trials, runs[0]) if chosen and 0 in summaries else None,
        "regret_of_checkpoints": statistics.mean(regret([runs[seed]], runs[seed]) for seed in summaries),
    }


def _as_configured(search: Path) -> float | None:
    """Return the test accuracy on the target of a search's first trial, whose settings are the configuration's."""
    return read_object(search / "trial-0000" / "summary.json").get(TEST_TARGET)


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
    """Add the share of the gap, and its lowest over the seeds."""
    low, high = rows.get(LOWER), rows.get(UPPER)
    for row in rows.values():
        if low and high and high["target_mean"] > low["target_mean"]:
            gap = high["target_mean"] - low["target_mean"]
            row["gap_closed"] = (row["target_mean"] - low["target_mean"]) / gap
            row["gap_closed_lowest"] = (min(row["target"]) - low["target_mean"]) / gap
    return json.loads(json.dumps(rows))
