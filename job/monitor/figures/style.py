"""Style of all figures."""

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
        "text.parse_math": False,  # class names may contain dollar signs
    }
)


def new_figure(width: float = 6.0, height: float = 4.0) -> Figure:
    """Return an empty figure of `width` x `height` inches, without pyplot, which would keep it in memory."""
    return Figure(figsize=(width, height), layout="constrained")


def line_axes(figure: Figure, title: str, y_label: str, x_label: str = "step") -> Axes:
    """Add axes with a grid, for lines and histograms."""
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(True)
    return axes
