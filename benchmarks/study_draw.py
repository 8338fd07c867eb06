"""The table of the study in docs/methods.md, between two marks, and its figure, docs/study.svg."""

import io
import math
from collections.abc import Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from job.evaluation.compare import LOWER, UPPER
from job.monitor.colours import objective_colours
from job.monitor.figures.style import INK, new_figure
from job.system.files import write_atomically

BEGIN, END = "<!-- study: written by python -m benchmarks.study --draw -->", "<!-- end of study -->"

WIDTH = 800 / 72  # inches: an SVG has 72 units an inch, and a page on GitHub has 800 pixels for it

_STYLE = {
    **dict.fromkeys(("font.size", "axes.titlesize", "figure.labelsize"), 12),
    "svg.fonttype": "none",  # text as text: a fraction of the size of outlines
}

_PICTURE = """![Accuracy on the target by method, a column for each shift](study.svg)

Bars: means. Dots: seeds. Dashed: the mean of `source_only`. An empty row: not trained on that shift."""

COLUMNS = (
    *("method", "target accuracy", "seeds", "gap closed (lowest seed)", "regret", "cost"),
    *("as configured", "settings"),
)

Costs = Mapping[str, Mapping[str, Mapping[str, float]]]  # case -> method -> figures, of benchmarks.method_cost


def draw(result: dict[str, Any], costs: Costs, docs: Path) -> None:
    """Write the figure, and the table into the page where the marks are."""
    page = docs / "methods.md"
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise SystemExit(f"error: {page} has no lines {BEGIN} and {END}: add them where the table belongs")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    content = f"{_PICTURE}\n\n{table(result, costs)}"
    write_atomically(page, f"{before}{BEGIN}\n\n{content}\n\n{END}{after}")
    draw_figure(result, docs / "study.svg")


def table(result: dict[str, Any], costs: Costs) -> str:
    """Return a Markdown table for each shift."""
    parts = []
    for name, shift in result["shifts"].items():
        lines = [
            f"**{shift['title']}**\n",
            f"| {' | '.join(COLUMNS)} |",
            f"|{'---|' * len(COLUMNS)}",
        ]
        costs_here = costs.get("faces" if name.startswith("faces") else "digits", {})
        lines += [_row(method, row, costs_here.get(method)) for method, row in shift["methods"].items()]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _row(method: str, row: dict[str, Any], cost: Mapping[str, float] | None) -> str:
    spread = f" \u00b1 {row['target_std']:.3f}" if len(row["seeds"]) > 1 else ""
    share = "-"
    if "gap_closed" in row:
        lowest = f" ({100 * row['gap_closed_lowest']:.0f} %)" if len(row["seeds"]) > 1 else ""
        share = f"{100 * row['gap_closed']:.0f} %{lowest}"
    lost = row["regret"] if row["regret"] is not None else row["regret_of_checkpoints"]
    settings = ", ".join(f"`{key}={_short(value)}`" for key, value in row["settings"].items()) or "as configured"
    configured = row.get("as_configured")
    cells = [f"`{method}`", f"{row['target_mean']:.3f}{spread}", str(len(row["seeds"])), share, f"{100 * lost:.1f}"]
    cells += [f"{cost['cost']:.1f}" if cost else "-", "-" if configured is None else f"{configured:.3f}", settings]
    return f"| {' | '.join(cells)} |"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def draw_figure(result: dict[str, Any], path: Path) -> None:
    """Write an SVG that is as wide as a page on GitHub, so that its text is nearly as large as that of the page."""
    content = io.StringIO()
    with rc_context(_STYLE):
        _figure(result).savefig(content, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    path.write_text("\n".join(line.strip() for line in content.getvalue().splitlines()) + "\n", encoding="utf-8")


def _figure(result: dict[str, Any]) -> Figure:
    """Draw a column for each shift and a row for each method, with its mean and a dot for each seed.

    The dashed line is the mean of source_only; a method that was not trained on a shift has an empty row there.
    """
    shifts = result["shifts"]
    names = sorted({name for shift in shifts.values() for name in shift["methods"]}, key=_place)
    every = [each for shift in shifts.values() for row in shift["methods"].values() for each in row["target"]]
    lowest = math.floor(10 * min(every) - 0.2) / 10
    colours = objective_colours(names)
    figure = new_figure(WIDTH, 1.1 + 0.27 * len(names))
    panels = figure.subplots(1, len(shifts), sharey=True, squeeze=False)[0]
    for axes, shift in zip(panels, shifts.values(), strict=True):
        methods = shift["methods"]
        if LOWER in methods:
            axes.axvline(methods[LOWER]["target_mean"], color=colours[LOWER], linestyle="--", linewidth=1)
        for row, name in enumerate(names):
            if name in methods:
                mean, seeds = methods[name]["target_mean"], methods[name]["target"]
                axes.plot([mean] * 2, [row - 0.36, row + 0.36], color=colours[name], linewidth=4)
                axes.plot(seeds, [row] * len(seeds), ".", color="black", markersize=5, alpha=0.7)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", colors=INK, length=0)
        axes.set(xlim=(lowest, 1), ylim=(len(names) - 0.5, -0.5))
        axes.xaxis.set_major_locator(MaxNLocator(4, prune="both"))
        axes.set_title("\n".join(wrap(shift["title"], 13)), loc="center")
        axes.grid(True, axis="x")
    figure.supxlabel("accuracy on the target, test split (oracle)")
    return figure


def _place(name: str) -> tuple[int, str]:
    """Sort source_only first and train_on_target last."""
    return (name == UPPER) - (name == LOWER), name
