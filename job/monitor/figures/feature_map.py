"""Two-dimensional maps of the features of both domains, coloured by domain and by class."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from job.monitor.colours import ROLE, class_colours
from job.monitor.figures.style import FAINT, new_figure
from job.run_folder.run_view import RunView
from job.vocabulary import TARGET

MARKER = {"source": "o", "target": "^"}


def draw_by_domain(run: RunView) -> Figure | None:
    positions = run.feature_map
    if positions is None:
        return None
    figure, axes = _axes(run, "features by domain")
    generator, parts = np.random.default_rng(0), 8
    shuffled = {role: np.array_split(generator.permutation(points), parts) for role, points in positions.items()}
    for part in range(parts):  # in turns, so that no domain covers the other
        for role, points in shuffled.items():
            axes.scatter(*points[part].T, color=ROLE[role], s=12, alpha=0.7, linewidths=0, marker=MARKER[role])
    _legend(figure, positions, [ROLE[role] for role in positions], [MARKER[role] for role in positions])
    return figure


def draw_by_class(run: RunView) -> Figure | None:
    return _by_class(run, "target_predicted", "features by class (target: predicted)")


def draw_by_class_oracle(run: RunView) -> Figure | None:
    return _by_class(run, "target_labels", "features by class (target: true)") if run.target_labels_known else None


def _by_class(run: RunView, target_classes: str, title: str) -> Figure | None:
    positions = run.feature_map
    if positions is None:
        return None
    figure, axes = _axes(run, title)
    colours = np.array(class_colours(run.class_names))
    for role, points in positions.items():
        indices = run.sample[target_classes if role == TARGET else "source_labels"]
        known = indices >= 0  # -1: no label
        axes.scatter(*points[known].T, c=colours[indices[known]], s=14, alpha=0.75, linewidths=0, marker=MARKER[role])
    _legend(figure, run.class_names, colours, ["s"] * len(colours))
    axes.set_xlabel(axes.get_xlabel() + "      \u25cf source   \u25b2 target", color=FAINT)
    return figure


def _axes(run: RunView, title: str):
    figure = new_figure(6, 4.6)
    axes = figure.add_subplot()
    name = "t-SNE" if run.config["evaluation"]["feature_map"] == "tsne" else "principal components"
    axes.set_title(f"{title}, step {int(run.sample['step'])}")
    axes.set_xlabel(name, color=FAINT)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return figure, axes


def _legend(figure: Figure, names, colours, markers) -> None:
    handles = [Line2D([], [], color=c, marker=m, linestyle="") for c, m in zip(colours, markers, strict=True)]
    figure.legend(handles, names, loc="outside right upper")
