"""How often "adaptation may have hurt" is right, on finished runs with target labels.

Each adapted run is compared with the run of source_only on the same shards, domains and seed (of several the one with
the highest source accuracy): does its chosen checkpoint have a lower accuracy on the target's validation split, and do
the signs of job/evaluation/doubts.py, which need no target labels, say so? A run that they name is caught if it is
lower, and a false alarm if not. For each score alone: the probability that a harmed run has a lower difference to
source_only than another one (0.5: chance), and what a limit on the difference would catch.

    python -m benchmarks.doubts runs/study/*-[0-9] runs/study/*-search/trial-* --out benchmarks/results/doubts.json
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import print_table, write_result
from benchmarks.selection import TRUTH, Run, label_free, read, with_agreement
from job.evaluation.agreement import SELECTION
from job.evaluation.compare import LOWER
from job.evaluation.doubts import against_baseline, within_run

CLEAR = 0.02  # below source_only by more: not chance on 1,000 images
LIMITS = (0.0, 0.01, 0.02, 0.05, 0.1)


def compare(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return a row for each adapted run that has a baseline: how far it is from it, and which signs name it."""
    groups: dict[tuple, list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.group].append(run)
    rows = []
    for members in groups.values():
        picks = with_agreement(members)
        baselines = [row for run, row in zip(members, picks, strict=True) if run.method == LOWER]
        if not baselines:
            continue
        baseline = max(baselines, key=lambda row: row[SELECTION + "source_accuracy"])
        for run, row in zip(members, picks, strict=True):
            if run.method != LOWER:
                rows.append(_row(run, row, baseline))
    return rows


def _row(run: Run, row: dict[str, Any], baseline: dict[str, Any]) -> dict[str, Any]:
    both = [name for name in label_free([row]) if SELECTION + name in baseline]
    return {
        "run": run.folder,
        "gain": row[TRUTH] - baseline[TRUTH],
        "within_run": [doubt.score for doubt in within_run(run.rows, run.score)[1]],
        "against_baseline": [doubt.score for doubt in against_baseline(row, baseline)],
        "differences": {name: row[SELECTION + name] - baseline[SELECTION + name] for name in both},
    }


def counts(rows: Sequence[dict[str, Any]], named: Sequence[bool]) -> dict[str, int]:
    """Count what a sign that names some of the rows catches: of the harmed, of the clearly harmed, of the others."""
    return {
        "caught": sum(name for name, row in zip(named, rows, strict=True) if row["gain"] < 0),
        "caught_clear": sum(name for name, row in zip(named, rows, strict=True) if row["gain"] < -CLEAR),
        "false_alarms": sum(name for name, row in zip(named, rows, strict=True) if row["gain"] >= 0),
    }


def separation(rows: Sequence[dict[str, Any]], score: str) -> float | None:
    """Return the probability that a harmed run has a lower difference in a score than another run; ties count half."""
    known = [row for row in rows if score in row["differences"]]
    harmed = [row["differences"][score] for row in known if row["gain"] < 0]
    others = [row["differences"][score] for row in known if row["gain"] >= 0]
    if not harmed or not others:
        return None
    return sum((low < high) + 0.5 * (low == high) for low in harmed for high in others) / len(harmed) / len(others)


def measure(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the counts of the signs, and of every score alone."""
    rows = sorted(compare(runs), key=lambda row: row["gain"])
    scores = sorted({name for row in rows for name in row["differences"]})
    return {
        "runs": len(rows),
        "harmed": sum(row["gain"] < 0 for row in rows),
        "clearly_harmed": sum(row["gain"] < -CLEAR for row in rows),
        "signs": {sign: counts(rows, [bool(row[sign]) for row in rows]) for sign in ("within_run", "against_baseline")},
        "scores": {
            score: {
                "separation": separation(rows, score),
                "below_by": {
                    str(limit): counts(rows, [row["differences"].get(score, 0.0) < -limit for row in rows])
                    for limit in LIMITS
                },
            }
            for score in scores
        },
        "rows": rows,
    }


def main(words: Sequence[str] | None = None) -> int:
    """Measure the runs that the command line names; print a table, and write JSON with --out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.doubts", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders of finished runs")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args(words)
    result = measure([run for folder in args.folders if isinstance(run := read(folder), Run)])
    if not result["runs"]:
        print("error: no adapted run has a run of source_only on the same shards and seed beside it", file=sys.stderr)
        return 2
    print(f"{result['runs']} adapted runs, {result['harmed']} below source_only, {result['clearly_harmed']} clearly")
    table = [(name, *each.values()) for name, each in result["signs"].items()]
    for name, each in result["scores"].items():
        table += [(f"{name} < -{limit}", *found.values()) for limit, found in each["below_by"].items()]
    print_table([("sign", "caught", "of the clear ones", "false alarms"), *table])
    if args.out is not None:
        write_result(args.out, "doubts", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
