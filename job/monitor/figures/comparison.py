"""Figure of a comparison: accuracy on the target test split by objective, and the recall of each class."""

from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from job.evaluation.compare_text import gap_text
from job.evaluation.metrics import UNMEASURED
from job.metric_names import TEST_SOURCE, TEST_TARGET, TEST_TARGET_RECALL
from job.monitor.colours import objective_colours
from job.monitor.figures.style import INK, new_figure

MOST_CLASSES = 20  # with more classes the bars are too thin
LONGEST_LINE = 40  # characters of a label


def draw_comparison(comparison: dict[str, Any], path: Path) -> None:
    """Write a PNG: for each objective a bar with its 95 % interval and a dot for each seed, and the recalls.

    Without an accuracy of either domain there is none.
    """
    role, metric = ("target", TEST_TARGET) if measured(comparison, "target") else ("source", TEST_SOURCE)
    if not measured(comparison, role):
        path.unlink(missing_ok=True)  # of an earlier comparison
        return
    recalls = _recalls(comparison) if role == "target" else {}
    objectives = list(comparison["objectives"])
    longest = max(len(line) for objective in objectives for line in _lines(objective))
    width = max(4.2, max(1.25, 0.075 * longest) * len(objectives) + 1)
    figure = new_figure(width + (6 if recalls else 0), 3.8)
    if recalls:
        accuracy, classes = figure.subplots(1, 2, width_ratios=(width, 6))
        _draw_recalls(classes, recalls, objectives)
        figure.legend(loc="outside right upper", fontsize=8)
    else:
        accuracy = figure.add_subplot()
    _draw_accuracy(accuracy, comparison, role, metric)
    figure.savefig(path, format="png", dpi=150)


def measured(comparison: dict[str, Any], role: str) -> bool:
    """Return whether every objective has an accuracy on the test split of a role."""
    return all(row[role] is not None for row in comparison["objectives"].values())


def _lines(objective: str) -> list[str]:
    """Return the name of an objective as lines of limited length: settings in which it differs are below the method."""
    lines = objective.replace(" (", "\n(").replace(", ", ",\n").split("\n")
    return [part for line in lines for part in wrap(line, LONGEST_LINE)]


def _draw_accuracy(axes: Axes, comparison: dict[str, Any], role: str, metric: str) -> None:
    colours, labels = objective_colours(list(comparison["objectives"])), []
    for position, (objective, row) in enumerate(comparison["objectives"].items()):
        mean, ends = row[role]["mean"], row[role]["interval"]
        seeds = [run[metric] for run in comparison["runs"] if run["objective"] == objective]
        axes.bar(position, mean, 0.6, color=colours[objective], alpha=0.85)
        if ends:
            axes.errorbar(position, mean, [[mean - ends[0]], [ends[1] - mean]], color=INK, capsize=4, linewidth=1.2)
        spread = (np.arange(len(seeds)) - (len(seeds) - 1) / 2) * min(0.1, 0.4 / len(seeds))
        axes.plot(position + spread, seeds, "o", color=INK, markersize=3, alpha=0.8, clip_on=False)
        closes = role == "target" and row.get("gap_closed_interval")
        labels.append(
            "\n".join([*_lines(objective), f"{mean:.3f}"]) + (f"\n{gap_text(row)}\nof the gap" if closes else "")
        )
    axes.set_xticks(range(len(labels)), labels, fontsize=8, color=INK)
    title = "target, test split (oracle)" if role == "target" else f"source, test split\n({UNMEASURED})"
    axes.set(title=title, ylabel="accuracy", ylim=(0, 1))
    axes.grid(True, axis="y")


def _recalls(comparison: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return class -> objective -> mean recall on the target test split, for classes that all runs have."""
    runs = comparison["runs"]
    names = [key for key in runs[0] if key.startswith(TEST_TARGET_RECALL) and all(key in run for run in runs)]
    if len(names) > MOST_CLASSES:
        return {}
    return {
        name.removeprefix(TEST_TARGET_RECALL): {
            objective: float(np.mean([run[name] for run in runs if run["objective"] == objective]))
            for objective in comparison["objectives"]
        }
        for name in names
    }


def _draw_recalls(axes: Axes, recalls: dict[str, dict[str, float]], objectives: list[str]) -> None:
    colours, width = objective_colours(objectives), 0.8 / len(objectives)
    for number, objective in enumerate(objectives):
        positions = np.arange(len(recalls)) + (number + 0.5) * width - 0.4
        heights = [means[objective] for means in recalls.values()]
        axes.bar(positions, heights, 0.92 * width, color=colours[objective], label="\n".join(_lines(objective)))
    axes.set_xticks(range(len(recalls)), list(recalls), rotation=40, ha="right")
    axes.tick_params(axis="x", colors=INK)
    axes.set(title="recall of each class, target, test split (oracle)", ylim=(0, 1))
    axes.grid(True, axis="y")
