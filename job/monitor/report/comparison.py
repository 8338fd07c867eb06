"""``comparison.html``: finished runs by objective on one page, with no network."""

from html import escape
from pathlib import Path
from typing import Any

from job.evaluation.compare import SOURCE, TARGET
from job.evaluation.curves import Curve
from job.monitor import colours
from job.monitor.report.parts import card, cards, page, tiles
from job.monitor.report.svg import Line, bars, line_chart
from job.system.files import write_atomically

CURVES = {  # metric -> title, whether it needed target labels
    "oracle/target_accuracy": ("Accuracy, target, validation", True),
    "val/source_accuracy": ("Accuracy, source, validation", False),
    "domain/a_distance": ("Proxy A-distance", False),
    "domain/confusion": ("Domain confusion", False),
}
RECALL = "oracle/test_target_recall/"


def write_comparison(comparison: dict[str, Any], curves: dict[str, dict[str, Curve]], path: Path) -> None:
    """Write the page of a comparison (`job.evaluation.compare`); `curves` maps metric -> objective -> curve."""
    objectives = comparison["objectives"]
    body = (
        "<header><h1>Comparison</h1><p>mean \u00b1 standard deviation over the seeds of each objective</p></header><br>"
    )
    body += tiles({f"of the gap closed by {name}": _percent(_gap(row, name)) for name, row in objectives.items()})
    names = list(objectives)
    means = {
        f"{domain}, test": (colour, [objectives[name][domain]["mean"] for name in names])
        for domain, colour in (("source", colours.SOURCE), ("target", colours.TARGET))
    }
    body += cards(
        "Test split",
        card("Accuracy", _table(objectives), "the gap is train_on_target minus source_only on the target", oracle=True),
        card("Accuracy", bars(names, means), oracle=True),
        card("Recall of each emotion, target", _recalls(comparison), oracle=True),
    )
    body += cards("Over the run", *(card(t, _curves(curves.get(m, {})), oracle=o) for m, (t, o) in CURVES.items()))
    body += cards("Runs", card("Seeds", _runs(comparison["runs"]), wide=True))
    write_atomically(path, page("Comparison", body))


def _gap(row: dict[str, Any], name: str) -> float | None:
    return None if name in ("source_only", "train_on_target") else row.get("gap_closed")


def _table(objectives: dict[str, Any]) -> str:
    rows = []
    for name, row in objectives.items():
        cells = "".join(f"<td>{_spread(row[domain], len(row['seeds']))}</td>" for domain in ("source", "target"))
        closed = _percent(row.get("gap_closed")) or "-"
        rows.append(f"<tr><th>{escape(name)}</th><td>{len(row['seeds'])}</td>{cells}<td>{closed}</td></tr>")
    heads = "".join(f"<th>{head}</th>" for head in ("objective", "seeds", "source test", "target test", "gap closed"))
    return f'<div class="scroll"><table class="numbers"><tr>{heads}</tr>{"".join(rows)}</table></div>'


def _spread(values: dict[str, float], seeds: int) -> str:
    return f"{values['mean']:.4f}" + (f" \u00b1 {values['std']:.4f}" if seeds > 1 else "")


def _recalls(comparison: dict[str, Any]) -> str:
    runs = comparison["runs"]
    emotions = [key.removeprefix(RECALL) for key in runs[0] if key.startswith(RECALL)]
    emotions = [emotion for emotion in emotions if all(RECALL + emotion in run for run in runs)]
    if not emotions:
        return ""
    series = {}
    for name in comparison["objectives"]:
        members = [run for run in runs if run["objective"] == name]
        means = [sum(run[RECALL + emotion] for run in members) / len(members) for emotion in emotions]
        series[name] = (colours.objective_colour(name), means)
    return bars(emotions, series)


def _curves(curves: dict[str, Curve]) -> str:
    return line_chart(
        [
            Line(name, curve.steps, curve.mean, colours.objective_colour(name), low=curve.low, high=curve.high)
            for name, curve in curves.items()
        ]
    )


def _runs(runs: list[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><th>{escape(run['run'])}</th><td>{escape(run['objective'])}</td><td>{run['seed']}</td>"
        f"<td>{run[SOURCE]:.4f}</td><td>{run[TARGET]:.4f}</td></tr>"
        for run in runs
    )
    heads = "".join(f"<th>{head}</th>" for head in ("run", "objective", "seed", "source test", "target test"))
    return f'<div class="scroll"><table class="numbers"><tr>{heads}</tr>{rows}</table></div>'


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.0f} %"
