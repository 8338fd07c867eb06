"""Histogram of confidence: the probability of the predicted class, in each domain. Needs no labels."""

import numpy as np
from matplotlib.figure import Figure

from job.monitor.colours import ROLE
from job.monitor.figures.style import line_axes, new_figure
from job.run_folder.run_view import ROLES, RunView


def draw_confidence(run: RunView) -> Figure | None:
    """Return the histogram of the last evaluation, or None without counts."""
    counts = {role: run.evaluations[-1][role].get("confidence") for role in ROLES} if run.evaluations else {}
    counts = {role: values for role, values in counts.items() if values and sum(values)}
    if not counts:
        return None  # evaluation files of version 0.1 have no such counts
    figure = new_figure(6, 3.4)
    axes = line_axes(figure, "confidence, validation", "share of images", "probability of the predicted class")
    for role, values in counts.items():
        shares, edges = np.array(values) / sum(values), np.linspace(0, 1, len(values) + 1)
        axes.stairs(shares, edges, fill=True, color=ROLE[role], alpha=0.4, label=role)
        axes.stairs(shares, edges, color=ROLE[role], linewidth=1.2)
    axes.set_xlim(0, 1)
    axes.legend()
    return figure
