"""What the domain classifier answers, and which classes the target is taken for."""

import numpy as np
from matplotlib.figure import Figure

from job.monitor.colours import ROLE, TARGET, class_colours
from job.monitor.figures.bins import BINS, histograms
from job.monitor.figures.style import FAINT, line_axes, new_figure
from job.run_folder.run_view import RunView


def draw_histogram(run: RunView) -> Figure | None:
    shares = histograms(run)
    if shares is None:
        return None
    figure = new_figure(6, 3.4)
    axes = line_axes(figure, "domain predictions, validation", "share of samples", "probability of being target")
    for role, heights in shares.items():
        axes.stairs(heights, BINS, fill=True, color=ROLE[role], alpha=0.45, label=role)
        axes.stairs(heights, BINS, color=ROLE[role], linewidth=1.2)
    axes.axvline(0.5, color=FAINT, linewidth=1, linestyle=":")
    axes.set_xlim(0, 1)
    axes.legend()
    return figure


def draw_target_classes(run: RunView) -> Figure | None:
    """Share of the target predicted as each class, beside the source's true shares, over the run and now."""
    if not run.evaluations:
        return None
    names = run.class_names
    figure = new_figure(8, 3.4)
    now, over = figure.subplots(1, 2, width_ratios=(1.2, 1))
    predicted = np.array(run.evaluations[-1]["target"]["predicted"])
    true = run.confusion("source").sum(1)
    places = np.arange(len(names))
    now.bar(places - 0.2, predicted / predicted.sum(), 0.4, color=TARGET, label="target, predicted")
    now.bar(places + 0.2, true / true.sum(), 0.4, color=ROLE["source"], label="source, true")
    now.set_xticks(places, names, rotation=40, ha="right")
    now.set(title="classes, validation", ylabel="share")
    now.grid(True, axis="y")
    now.legend()
    steps = [evaluation["step"] for evaluation in run.evaluations]
    shares = np.array([evaluation["target"]["predicted"] for evaluation in run.evaluations], float)
    shares /= shares.sum(1, keepdims=True)
    if len(steps) > 1:
        over.stackplot(steps, shares.T, colors=class_colours(names), labels=names)
        over.set_xlim(steps[0], steps[-1])
    else:
        over.bar([steps[0]], shares[0], bottom=np.cumsum(shares[0]) - shares[0], color=class_colours(names))
    over.set(title="target predictions", xlabel="step", ylim=(0, 1))
    return figure
