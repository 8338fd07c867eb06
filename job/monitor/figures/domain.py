"""Predictions of the domain classifier, and predicted classes of the target."""

import numpy as np
from matplotlib.figure import Figure

from job.monitor.colours import ROLE, TARGET
from job.monitor.figures.style import FAINT, INK, line_axes, new_figure
from job.run_folder.run_view import ROLES, RunView

BINS = np.linspace(0, 1, 21)


def draw_histogram(run: RunView) -> Figure | None:
    """Draw the predicted probability of being target, for each domain. None without a domain classifier."""
    probabilities = {role: run.sample.get(f"{role}_target_probability") for role in ROLES}
    if not run.logs("domain/accuracy") or any(values is None or not len(values) for values in probabilities.values()):
        return None
    figure = new_figure(6, 3.4)
    axes = line_axes(figure, "domain predictions, validation", "share of samples", "probability of being target")
    for role, values in probabilities.items():
        heights = np.histogram(values, BINS)[0] / len(values)
        axes.stairs(heights, BINS, fill=True, color=ROLE[role], alpha=0.45, label=role)
        axes.stairs(heights, BINS, color=ROLE[role], linewidth=1.2)
    axes.axvline(0.5, color=FAINT, linewidth=1, linestyle=":")
    axes.set_xlim(0, 1)
    axes.legend()
    return figure


def draw_target_classes(run: RunView) -> Figure | None:
    """Draw the predicted class shares of the target, beside the true ones of the source, at the last evaluation."""
    if not run.evaluations:
        return None
    counts = run.confusion("source")
    names = run.class_names
    figure = new_figure(6, 3.4)
    axes = figure.add_subplot()
    predicted = np.array(run.evaluations[-1]["target"]["predicted"])
    positions = np.arange(len(names))
    axes.bar(positions + 0.2, predicted / max(predicted.sum(), 1), 0.4, color=TARGET, label="target, predicted")
    if counts is not None:
        true = counts.sum(1)
        axes.bar(positions - 0.2, true / max(true.sum(), 1), 0.4, color=ROLE["source"], label="source, true")
    axes.set_xticks(positions, names, rotation=40, ha="right")
    axes.tick_params(axis="x", colors=INK)
    axes.set(title="class shares, validation", ylabel="share of images")
    axes.grid(True, axis="y")
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])  # room for the legend
    axes.legend(ncols=2, loc="upper right")
    return figure
