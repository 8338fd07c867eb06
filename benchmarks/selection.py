"""Regret of the label-free scores: how far each pick is below the best checkpoint, on finished runs with target labels.

For each score, within a run: the checkpoint that it picks. Across runs: the checkpoint that it picks among all
checkpoints of all runs on the same shards, domains and seed, of one method (its configurations) or of all methods.
Among chosen checkpoints: likewise, but among those that each run's own score chose, as a search does. The agreement
with the mean prediction of all (job/evaluation/ensemble.py) and sums with it are measured among these only. Regret is
the best accuracy on the target's validation split of all checkpoints minus that of the pick, in [0, 1]. Runs that train
with target labels are excluded. The target labels are read only here, after training, and choose nothing.
"""

import argparse
import json
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import write_result
from job.config.load import build_config
from job.config.method_settings import MethodSettings
from job.config.objectives import SETTINGS, method_label
from job.evaluation.agreement import SELECTION, rank_correlation
from job.evaluation.ensemble import ENSEMBLE, agreement_in_order, read_predictions
from job.evaluation.score_sums import COMPARISON, value_of
from job.metric_names import STEP, find
from job.run_folder.metrics_file import read_metrics
from job.run_folder.stored_files import read_config, read_object
from job.system.errors import JobError
from job.vocabulary import TARGET

TRUTH = "oracle/target_accuracy"
ACROSS = {
    "across_configurations": "all checkpoints of the runs of a method, shift and seed",
    "across_runs": "all checkpoints of the runs of a shift and seed",
    "chosen_across_configurations": "chosen checkpoints of the runs of a method, shift and seed",
    "chosen_across_runs": "chosen checkpoints of the runs of a shift and seed",
}
LAST = "last checkpoint"  # the pick without any score, within a run


class Run(NamedTuple):
    """A finished run: its group, and the rows of its evaluations."""

    folder: str
    method: str
    group: tuple[str, str, str, int]  # shards, source, target, seed
    rows: list[dict[str, Any]]
    score: str  # that chose its checkpoint


def read(folder: Path) -> Run | str:
    """Read a run, or return the reason why it is skipped."""
    try:
        config = read_config(folder)
    except JobError as error:
        return str(error)
    method = config["objective"]["name"]
    if not (folder / "summary.json").exists():
        return "not finished"
    if SETTINGS.get(method, MethodSettings).labelled == TARGET:
        return "trained with target labels"
    rows = [row for row in read_metrics(folder / "metrics.jsonl") if TRUTH in row]
    if not rows:
        return f"no {TRUTH}: its shards have no target labels for validation"
    method = method_label(config["objective"])
    data = config["data"]
    shards = read_object(folder / "facts.json").get("manifest") or data["shards"]
    return Run(str(folder), method, (shards, data["source"], data["target"], config["seed"]), rows, _score(config))


def _score(config: dict[str, Any]) -> str:
    """Return the score that chose the checkpoint of a run, by its stored configuration."""
    return build_config(config, "the run").score


def label_free(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of the logged scores that need no target labels, without their prefix."""
    found = {name for row in rows for name in row if name.startswith(SELECTION)}
    names = {name for name in found if ENSEMBLE in name or not find(name).labels}
    return sorted(name.removeprefix(SELECTION) for name in names)


def chosen(run: Run) -> dict[str, Any]:
    """Return the evaluation of the checkpoint that the run's own score chose; without that score the last one."""
    return max(run.rows, key=lambda row: (row.get(SELECTION + run.score, -math.inf), row[STEP]))


def with_agreement(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the chosen evaluation of each run, with its agreement with the ensemble if all have stored predictions."""
    picks = [dict(chosen(run)) for run in runs]
    models = [(run.method, read_predictions(Path(run.folder), int(row[STEP]))) for run, row in zip(runs, picks)]
    for row, value in zip(picks, agreement_in_order(models)):
        row[SELECTION + ENSEMBLE] = value
    for row in picks:
        if (value := value_of(row, COMPARISON)) is not None:
            row[SELECTION + COMPARISON] = value
    return picks


def judge(rows: Sequence[dict[str, Any]], score: str, best: float | None = None) -> dict[str, Any]:
    """Return what a score picks among evaluations: its regret, the pick, the rank correlation with the accuracy.

    The pick is the latest evaluation with the highest value. Evaluations without the score cannot be picked; at least
    one has it. `best` is the accuracy to compare with; None: the highest of the evaluations.
    """
    scored = [row for row in rows if SELECTION + score in row]
    pick = max(scored, key=lambda row: (row[SELECTION + score], row[STEP]))
    correlation = rank_correlation([row[SELECTION + score] for row in scored], [row[TRUTH] for row in scored])
    regret = (max(row[TRUTH] for row in rows) if best is None else best) - pick[TRUTH]
    return {"regret": regret, "accuracy": pick[TRUTH], "step": pick[STEP], "rank_correlation": correlation}


def summary(judged: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Summarise each score over runs or groups, the lowest mean regret first."""
    result = {}
    for score, each in judged.items():
        known = [one["rank_correlation"] for one in each if one.get("rank_correlation") is not None]
        result[score] = {
            "mean_regret": statistics.mean(one["regret"] for one in each),
            "worst_regret": max(one["regret"] for one in each),
            "rank_correlation": statistics.mean(known) if known else None,
            "count": len(each),
        }
    return dict(sorted(result.items(), key=lambda item: item[1]["mean_regret"]))


def measure(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the regret of every score within the runs, and across the runs of each group."""
    within: dict[str, list[dict[str, Any]]] = defaultdict(list)
    by_method: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    groups: dict[tuple, list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.group].append(run)
        best, last = max(row[TRUTH] for row in run.rows), max(run.rows, key=lambda row: row[STEP])[TRUTH]
        judged = {score: judge(run.rows, score) for score in label_free(run.rows)} | {LAST: {"regret": best - last}}
        for score, one in judged.items():
            within[score].append(one)
            by_method[run.method][score].append(one)
    return {
        "within_run": summary(within),
        "within_run_by_method": {method: summary(judged) for method, judged in by_method.items()},
        **_across(groups),
        "groups": [_described(group, members) for group, members in groups.items()],
    }


def _across(groups: Mapping[tuple, Sequence[Run]]) -> dict[str, Any]:
    """Return the regrets across the runs of each group, of one method and of all."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {key: defaultdict(list) for key in ACROSS}
    for members in groups.values():
        methods: dict[str, list[Run]] = defaultdict(list)
        for run in members:
            methods[run.method].append(run)
        for kind, sets in (("configurations", list(methods.values())), ("runs", [list(members)])):
            for runs in sets:
                rows = [row for run in runs for row in run.rows]
                picks = with_agreement(runs)
                best = max(row[TRUTH] for row in rows)
                for score in label_free(rows) if len(runs) > 1 else ():
                    found[f"across_{kind}"][score].append(judge(rows, score))
                for score in label_free(picks) if len(runs) > 1 else ():
                    found[f"chosen_across_{kind}"][score].append(judge(picks, score, best))
    return {key: summary(judged) for key, judged in found.items()}


def _described(group: tuple, members: Sequence[Run]) -> dict[str, Any]:
    shards, source, target, seed = group
    rows = [row | {"run": run.folder, "method": run.method} for run in members for row in run.rows]
    best = max(rows, key=lambda row: row[TRUTH])
    return {
        **{"shards": shards, "source": source, "target": target, "seed": seed, "runs": len(members)},
        **{"checkpoints": len(rows), "best": {key: best[key] for key in ("run", "method", STEP, TRUTH)}},
        "scores": {score: judge(rows, score) for score in label_free(rows)},
    }


def join(earlier: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Add measures of other runs to those of an earlier result. A group is a set of runs of one of the two."""
    joined = dict(earlier) | {key: earlier[key] + found[key] for key in ("runs", "groups")}
    joined["left_out"] = earlier["left_out"] | found["left_out"]
    for key in ("within_run", *ACROSS):
        joined[key] = _join_scores(earlier[key], found[key])
    methods = dict.fromkeys([*earlier["within_run_by_method"], *found["within_run_by_method"]])
    joined["within_run_by_method"] = {
        method: _join_scores(*(one["within_run_by_method"].get(method, {}) for one in (earlier, found)))
        for method in methods
    }
    return joined


def _join_scores(*parts: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Average summaries of scores by their counts."""
    joined = {}
    for score in dict.fromkeys(score for part in parts for score in part):
        rows = [part[score] for part in parts if score in part]
        known = [row for row in rows if row["rank_correlation"] is not None]
        joined[score] = {
            "mean_regret": _average(rows, "mean_regret"),
            "worst_regret": max(row["worst_regret"] for row in rows),
            "rank_correlation": _average(known, "rank_correlation") if known else None,
            "count": sum(row["count"] for row in rows),
        }
    return dict(sorted(joined.items(), key=lambda item: item[1]["mean_regret"]))


def _average(rows: Sequence[dict[str, Any]], key: str) -> float:
    return sum(row[key] * row["count"] for row in rows) / sum(row["count"] for row in rows)


def table(result: dict[str, Any]) -> str:
    """Format the result as text, in points of accuracy."""
    lines = [f"{'score':<16} {'mean regret':>12} {'worst':>7} {'rank corr.':>11} {'count':>6}"]
    for key, title in {"within_run": "within a run", **ACROSS}.items():
        lines.append(f"{title}:")
        for score, row in result[key].items():
            correlation = "-" if row["rank_correlation"] is None else f"{row['rank_correlation']:+.2f}"
            regrets = f"{100 * row['mean_regret']:>12.2f} {100 * row['worst_regret']:>7.2f}"
            lines.append(f"{score:<16} {regrets} {correlation:>11} {row['count']:>6}")
        if not result[key]:
            lines.append("nothing to measure: it needs two runs of one seed on the same shards and domains")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    """Measure the runs that the command line names; print a table, and write JSON with --out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.selection", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders of finished runs, such as runs/*")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--add", type=Path, metavar="FILE", help="add to the result in FILE, of other runs")
    args = parser.parse_args(words)
    found = {str(folder): read(folder) for folder in args.folders}
    runs = [run for run in found.values() if isinstance(run, Run)]
    left_out = {folder: reason for folder, reason in found.items() if isinstance(reason, str)}
    for folder, reason in left_out.items():
        print(f"{folder} is skipped: {reason}", file=sys.stderr)
    if not runs:
        print("error: no run is left: give finished runs on shards written with --keep-target-labels", file=sys.stderr)
        return 2
    result = {"runs": len(runs), "left_out": left_out} | measure(runs)
    if args.add is not None:
        result = join(json.loads(args.add.read_text())["result"], result)
    print(table(result))
    if args.out is not None:
        write_result(args.out, "selection", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
