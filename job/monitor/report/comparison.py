"""``comparison.html``: finished runs by objective, on one self-contained page."""

from html import escape
from pathlib import Path
from typing import Any

from job.evaluation.compare import LOWER, UPPER
from job.evaluation.compare_scores import preference, score_table
from job.evaluation.compare_text import gap_text, remarks, spread_text
from job.evaluation.curves import Curve
from job.metric_names import TEST_SOURCE, TEST_TARGET, find, title
from job.monitor.colours import objective_colours
from job.monitor.report.parts import card, cards, image, page, table, tiles
from job.monitor.report.svg import Line, line_chart
from job.system.files import write_atomically


def write_comparison(comparison: dict[str, Any], curves: dict[str, dict[str, Curve]], path: Path, figure: Path) -> None:
    """Write the page of a comparison (`job.evaluation.compare`).

    `curves` maps metric -> objective -> curve; `figure` is the PNG that `draw_comparison` wrote.
    """
    objectives = comparison["objectives"]
    body = (
        "<header><h1>Comparison</h1><p>mean \u00b1 standard deviation over the seeds of each objective, and the 95 % "
        "interval of the mean</p></header><br>"
    )
    body += tiles({f"of the gap closed by {name}": _headline(comparison, name) for name in objectives})
    body += "".join(f'<p class="note">{escape(remark)}</p>' for remark in remarks(comparison))
    measured = all(row["target"] is not None for row in objectives.values())
    gap = f"the gap is {UPPER} minus {LOWER} on the target" if "gap" in comparison else ""
    body += cards(
        "Test split",
        card("Accuracy", _table(comparison), gap, oracle=measured, wide=True),
        card("Accuracy and recall" if measured else "Accuracy", image(figure), oracle=measured, wide=True),
    )
    if scores := score_table(comparison):
        note = "; ".join(["means at the chosen checkpoints; higher is better", *preference(comparison)])
        body += cards("Without target labels", card("Scores", table(scores[0], scores[1:]), note, wide=True))
    colours = objective_colours(list(objectives))
    charts = (
        card(f"{find(name).panel}: {title(name)}", _curves(lines, colours), oracle=find(name).labels)
        for name, lines in curves.items()
    )
    body += cards("Over the run", *charts)
    body += cards("Runs", card("Seeds", _runs(comparison["runs"]), wide=True))
    write_atomically(path, page("Comparison", body))


def _headline(comparison: dict[str, Any], name: str) -> str | None:
    """Return the share of the gap that an objective closes, as text; None for the bounds or without a gap."""
    if name in (LOWER, UPPER) or "gap" not in comparison:
        return None
    closed = comparison["objectives"][name]["gap_closed"]
    return "within noise" if closed is None else f"{100 * closed:.0f} %"


def _table(comparison: dict[str, Any]) -> str:
    rows = []
    for name, row in comparison["objectives"].items():
        seeds = len(row["seeds"])
        texts = [spread_text(row[role], seeds) for role in ("source", "target")]
        rows.append([name, str(seeds), *texts, gap_text(row) if "gap" in comparison else "-"])
    return table(["objective", "seeds", "source test", "target test", "gap closed"], rows)


def _curves(curves: dict[str, Curve], colours: dict[str, str]) -> str:
    return line_chart(
        [
            Line(name, curve.steps, curve.mean, colours[name], low=curve.low, high=curve.high)
            for name, curve in curves.items()
        ]
    )


def _runs(runs: list[dict[str, Any]]) -> str:
    rows = []
    for run in runs:
        texts = [f"{run[name]:.4f}" if name in run else "not measured" for name in (TEST_SOURCE, TEST_TARGET)]
        rows.append([run["run"], run["objective"], str(run["seed"]), *texts])
    return table(["run", "objective", "seed", "source test", "target test"], rows)
