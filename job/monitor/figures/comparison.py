"""Finished runs by objective: accuracy on the target's test split, and how it came about."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from job.evaluation.compare import TARGET
from job.evaluation.curves import Curve
from job.monitor.colours import objective_colour
from job.monitor.figures.style import INK, new_figure

CURVE = "oracle/target_accuracy"


def draw_comparison(comparison: dict[str, Any], curves: dict[str, dict[str, Curve]], path: Path) -> None:
    """Write a PNG: a bar and a dot for each seed per objective, and the curves of the validation split beside it.

    `curves` maps metric -> objective -> curve.
    """
    figure: Figure = new_figure(9, 3.8)
    bars, lines = figure.subplots(1, 2, width_ratios=(1, 1.4))
    for place, (objective, row) in enumerate(comparison["objectives"].items()):
        colour = objective_colour(objective)
        mean, std = row["target"]["mean"], row["target"]["std"]
        bars.bar(place, mean, 0.6, color=colour, alpha=0.85, yerr=std if len(row["seeds"]) > 1 else None, capsize=4)
        seeds = [run[TARGET] for run in comparison["runs"] if run["objective"] == objective]
        bars.plot([place] * len(seeds), seeds, "o", color=INK, markersize=3.5)
        closed = row.get("gap_closed")
        told = f"{mean:.3f}" + ("" if closed is None or closed in (0, 1) else f"\n{100 * closed:.0f} % of the gap")
        bars.text(place, max(mean + std, *seeds, 0) + 0.02, told, ha="center", va="bottom", fontsize=8)
    bars.set_xticks(range(len(comparison["objectives"])), list(comparison["objectives"]))
    bars.set(title="target, test split", ylabel="accuracy", ylim=(0, 1.12), yticks=[0, 0.2, 0.4, 0.6, 0.8, 1])
    bars.grid(True, axis="y")
    for objective, curve in curves.get(CURVE, {}).items():
        colour = objective_colour(objective)
        lines.plot(curve.steps, curve.mean, color=colour, label=objective)
        lines.fill_between(curve.steps, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
    lines.set(title="target, validation (oracle)", xlabel="step", ylabel="accuracy")
    lines.grid(True)
    if lines.lines:
        lines.legend()
    figure.savefig(path, format="png", dpi=150)
