"""The look that all figures share."""

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, FAINT, GRID = "#1f2430", "#6b7280", "#e6e8ec"

matplotlib.use("Agg")
matplotlib.rcParams.update(
    {
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "text.color": INK,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "grid.color": GRID,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "figure.dpi": 130,
        "text.parse_math": False,  # names of classes may hold a dollar sign
    }
)


def new_figure(width: float = 6.0, height: float = 4.0) -> Figure:
    """An empty figure of `width` x `height` inches, outside of pyplot, which would keep it alive."""
    return Figure(figsize=(width, height), layout="constrained")


def line_axes(figure: Figure, title: str, y_label: str, x_label: str = "step") -> Axes:
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(True)
    return axes
