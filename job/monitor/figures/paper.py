"""Figures of an evaluation for print: as PNG of 300 dpi and as SVG, one column wide."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from job.evaluation.results.measures import BINS
from job.evaluation.results.tables import number
from job.monitor.colours import ROLE
from job.monitor.figures.confusion import confusion_figure
from job.monitor.figures.style import FAINT, INK, line_axes, new_figure
from job.system.files import atomic_path
from job.vocabulary import DOMAINS

DPI = 300
COLUMN = 3.5  # inches, the column of many journals
_OF_CLASSES = 12  # bars of classes in a figure of one column


def draw_paper(results: dict[str, Any], folder: Path) -> list[Path]:
    """Draw the figures of `results` (results.json of `evaluate --paper`) to a folder and return their paths.

    Raises OSError. A figure without data is skipped, as without labels.
    """
    written = []
    for name, draw in FIGURES.items():
        figure = draw(results)
        if figure is None:
            continue
        for kind in ("png", "svg"):
            path = folder / f"{name}.{kind}"
            with atomic_path(path) as unfinished:
                figure.savefig(unfinished, format=kind, dpi=DPI)
            written.append(path)
    return written


def _measured(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {role: domain for role in DOMAINS if (domain := results["domains"][role]) is not None}


def reliability(results: dict[str, Any]) -> Figure | None:
    """Draw accuracy against confidence in bins; below the diagonal the network is overconfident."""
    measured = _measured(results)
    if not measured:
        return None
    figure = new_figure(COLUMN, 3.2)
    axes = line_axes(figure, "", "accuracy", "confidence")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle="--")
    for role, domain in measured.items():
        images, confidence, accuracy = (
            np.array(domain["reliability"][name]) for name in ("images", "confidence", "accuracy")
        )
        some = images > 0
        label = f"{role}, ECE {number(domain['expected_calibration_error']['value'])}"
        axes.plot(confidence[some], accuracy[some], "-", color=ROLE[role], linewidth=1.0, label=label)
        sizes = 4 + 60 * images[some] / images.max()
        axes.scatter(
            confidence[some], accuracy[some], s=sizes, color=ROLE[role], alpha=0.7, linewidths=0, clip_on=False
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=np.linspace(0, 1, 6))
    _legend_above(figure, title=f"{BINS} bins; area: images")
    return figure


def recalls(results: dict[str, Any]) -> Figure | None:
    """Draw the recall of each class in each domain, with 95 % intervals."""
    measured, names = _measured(results), results["class_names"]
    if not measured or len(names) > 4 * _OF_CLASSES:
        return None
    figure = new_figure(COLUMN * max(1.0, len(names) / _OF_CLASSES), 2.8)
    axes = line_axes(figure, "", "recall", "")
    width = 0.8 / len(measured)
    for offset, (role, domain) in enumerate(measured.items()):
        at = np.arange(len(names)) + (offset + 0.5) * width - 0.4
        values = np.array([_zero(domain["classes"][name]["recall"]) for name in names])
        ends = np.array([[_zero(end) for end in domain["classes"][name]["recall_interval"]] for name in names]).T
        axes.bar(at, values, 0.92 * width, color=ROLE[role], label=role)
        around = np.abs(ends - values)
        axes.errorbar(at, values, around, fmt="none", color=INK, linewidth=0.8, capsize=1.5, clip_on=False)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.tick_params(axis="x", colors=INK)
    axes.set(ylim=(0, 1), yticks=np.linspace(0, 1, 6))
    axes.grid(False, axis="x")
    _legend_above(figure)
    return figure


def _legend_above(figure: Figure, title: str | None = None) -> None:
    """Put the legend above the axes, where it covers no curve."""
    figure.legend(loc="outside upper center", ncols=2, fontsize=7, title=title, title_fontsize=7)


def _confusion(role: str, results: dict[str, Any]) -> Figure | None:
    domain = results["domains"][role]
    return domain and confusion_figure(np.array(domain["confusion"]), results["class_names"], role)


def _zero(value: float | None) -> float:
    return 0.0 if value is None else value


FIGURES: dict[str, Callable[[dict[str, Any]], Figure | None]] = {
    "reliability": reliability,
    "recall": recalls,
    **{f"confusion_{role}": partial(_confusion, role) for role in DOMAINS},
}
