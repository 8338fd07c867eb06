"""Sample images with their predictions, and the most confident mistakes."""

import numpy as np
from matplotlib.figure import Figure

from job.monitor.figures.style import FAINT, INK, new_figure
from job.run_folder.run_view import RunView

COLUMNS = 8
WIDTH = 1.05  # inches of a column, of which the image has IMAGE
IMAGE = 0.97
LINE, GAP = 0.15, 0.13  # inches of a line of text, and below an image
RIGHT, WRONG = "#2e8b46", "#d03b30"


def draw_target_faces(run: RunView) -> Figure | None:
    return _draw(run, "target_faces", "target faces: prediction and confidence", truth=False)


def draw_source_mistakes(run: RunView) -> Figure | None:
    return _draw(run, "source_mistakes", "source: most confident mistakes", truth=True)


def draw_target_mistakes(run: RunView) -> Figure | None:
    return _draw(run, "target_mistakes", "target: most confident mistakes (oracle)", truth=True)


def _draw(run: RunView, which: str, title: str, truth: bool) -> Figure | None:
    images = run.sample.get(f"{which}_images", np.zeros((0, 1, 1, 3)))
    if not len(images):
        return None
    rows = -(-len(images) // COLUMNS)
    height, width = images.shape[1:3]
    row = IMAGE * height / width + (2 if truth else 1) * LINE + GAP  # as high as its content: no empty bands
    figure = new_figure(WIDTH * COLUMNS, row * rows + 0.25)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    # Hidden ticks, and a search for a title's place beside them (without y), would take most of the time.
    plain: dict[str, list[float]] = {"xticks": [], "yticks": []}
    grid = figure.subplots(rows, COLUMNS, squeeze=False, subplot_kw=plain).flat
    names = run.class_names
    part = {name: run.sample[f"{which}_{name}"] for name in ("labels", "predicted", "confidence")}
    for number, axes in enumerate(grid):
        axes.axis("off")
        if number >= len(images):
            continue
        axes.imshow(images[number])
        prediction = f"{names[part['predicted'][number]]} {part['confidence'][number]:.2f}"
        if truth:
            axes.set_title(f"{prediction}\n", fontsize=8, color=WRONG, loc="center", fontweight="normal", y=1, pad=3)
            text = f"is {names[part['labels'][number]]}"
            axes.text(0.5, 1.03, text, transform=axes.transAxes, ha="center", va="bottom", fontsize=8, color=FAINT)
        else:
            axes.set_title(prediction, fontsize=8, color=INK, loc="center", fontweight="normal", y=1, pad=3)
    return figure
