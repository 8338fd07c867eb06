"""Recall of each emotion over the run."""

from matplotlib.figure import Figure

from job.monitor.colours import class_colours
from job.monitor.figures.style import line_axes, new_figure
from job.run_folder.run_view import RunView


def draw_source(run: RunView) -> Figure | None:
    return _draw(run, "val/source_recall/", "recall on the source, validation")


def draw_target(run: RunView) -> Figure | None:
    return _draw(run, "oracle/target_recall/", "recall on the target, validation (oracle)")


def _draw(run: RunView, prefix: str, title: str) -> Figure | None:
    lines = {name: run.series(prefix + name) for name in run.class_names}
    if not any(steps for steps, _ in lines.values()):
        return None
    figure = new_figure()
    axes = line_axes(figure, title, "recall")
    for (name, (steps, values)), colour in zip(lines.items(), class_colours(run.class_names), strict=True):
        axes.plot(steps, values, color=colour, label=name, marker="o", markersize=3)
    axes.set_ylim(-0.02, 1.02)
    figure.legend(loc="outside right upper")
    return figure
