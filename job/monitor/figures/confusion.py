"""Confusion matrices: rows are true classes, and each cell is a share of its row."""

import numpy as np
from matplotlib.figure import Figure

from job.evaluation.metrics import accuracy
from job.monitor.figures.style import FAINT, INK, new_figure
from job.run_folder.run_view import RunView


def draw_source(run: RunView) -> Figure | None:
    return _draw(run, "source")


def draw_target(run: RunView) -> Figure | None:
    return _draw(run, "target")


def draw_source_test(run: RunView) -> Figure | None:
    return _draw_test(run, "source")


def draw_target_test(run: RunView) -> Figure | None:
    return _draw_test(run, "target")


def _draw_test(run: RunView, role: str) -> Figure | None:
    counts = run.test[role]["confusion"] if run.test else None
    return None if counts is None else confusion_figure(np.array(counts), run.test["class_names"], f"{role}, test")


def _draw(run: RunView, role: str) -> Figure | None:
    counts = run.confusion(role)
    return None if counts is None else confusion_figure(counts, run.class_names, f"{role}, validation")


def confusion_figure(counts: np.ndarray, names: list[str], title: str) -> Figure:
    """Draw the counts, int [C, C], with the number of images of each row. Classes that do not occur are empty rows."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = new_figure(5.4, 4.8)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(
        range(len(names)), [f"{name} ({images})" for name, images in zip(names, counts.sum(1), strict=True)]
    )
    axes.tick_params(colors=INK)
    total = f"accuracy {accuracy(counts):.3f} of {counts.sum()}" if counts.sum() else "no images"
    axes.set(title=f"{title}: {total}; % of row", xlabel="predicted", ylabel="true (images)")
    axes.spines[:].set_visible(False)
    if len(names) <= 20:
        for (row, column), share in np.ndenumerate(shares):
            if counts[row, column]:
                colour = "white" if share > 0.55 else INK if share >= 0.05 else FAINT
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=8)
    return figure
