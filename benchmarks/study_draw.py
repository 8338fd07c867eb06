"""The table of the study in docs/methods.md, between two marks, and its figure, docs/study.svg."""

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context

from job.evaluation.compare import LOWER
from job.monitor.colours import objective_colours
from job.monitor.figures.style import new_figure
from job.system.files import write_atomically

BEGIN, END = "<!-- study: written by python -m benchmarks.study --draw -->", "<!-- end of study -->"

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
    content = f"![Accuracy on the target by method, a panel for each shift](study.svg)\n\n{table(result, costs)}"
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
    """Write an SVG: a panel for each shift, a line at each method's mean, a dot for each seed, source_only dashed."""
    shifts = result["shifts"]
    names = list(dict.fromkeys(name for shift in shifts.values() for name in shift["methods"]))
    every = [each for shift in shifts.values() for row in shift["methods"].values() for each in row["target"]]
    lowest = math.floor(20 * min(every) - 0.2) / 20
    colours = objective_colours(names)
    figure = new_figure(2.9 * len(shifts), 3.4)
    panels = figure.subplots(1, len(shifts), sharey=True, squeeze=False)[0]
    for axes, shift in zip(panels, shifts.values(), strict=True):
        methods = shift["methods"]
        if LOWER in methods:
            axes.axhline(methods[LOWER]["target_mean"], color=colours[LOWER], linestyle="--", linewidth=1)
        places, means = range(len(methods)), [row["target_mean"] for row in methods.values()]
        left, right = ([place + side for place in places] for side in (-0.35, 0.35))
        axes.hlines(means, left, right, colors=[colours[name] for name in methods], linewidth=4)
        dots = [(place, each) for place, row in enumerate(methods.values()) for each in row["target"]]
        axes.plot(*zip(*dots, strict=True), ".", color="black", markersize=4)
        axes.set_xticks(range(len(methods)), list(methods), rotation=60, ha="right", fontsize=7)
        axes.set(title=shift["title"], ylim=(lowest, 1))
        axes.grid(True, axis="y")
    panels[0].set_ylabel("accuracy on the target, test (oracle)")
    content = io.StringIO()
    with rc_context({"svg.fonttype": "none"}):  # text as text: a fraction of the size of outlines
        figure.savefig(content, format="svg", metadata={"Date": None})
    path.write_text("\n".join(line.strip() for line in content.getvalue().splitlines()) + "\n", encoding="utf-8")
