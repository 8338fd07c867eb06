"""Colours of all figures and pages, readable on white and on near-black."""

from collections.abc import Sequence

from job.evaluation.compare import LOWER, UPPER

SOURCE, TARGET = "#3b6fd4", "#e8833a"
ROLE = {"source": SOURCE, "target": TARGET}
GREY, GREEN, PURPLE, TURQUOISE = "#8a8f98", "#3ca951", "#9a5bd6", "#19b3c4"
LINES = (
    SOURCE,
    TARGET,
    PURPLE,
    TURQUOISE,
    GREEN,
    "#e86fa8",
    "#9c6b4e",
    "#e0a800",
    GREY,
)  # of the lines of a chart, in this order
_BOUNDS = {LOWER: GREY, UPPER: GREEN}
_EMOTIONS = {
    "neutral": GREY,
    "joy": "#e0a800",
    "sadness": "#3f6fd8",
    "surprise": TURQUOISE,
    "anger": "#e0483e",
    "fear": PURPLE,
    "disgust": GREEN,
}
_OTHERS = [*_EMOTIONS.values(), "#e86fa8", "#9c6b4e", "#5aa9ff"]


def class_colours(names: Sequence[str]) -> list[str]:
    """Return a colour for each class: fixed ones for the emotions, and a cycle for other classes."""
    return [_EMOTIONS.get(name, _OTHERS[number % len(_OTHERS)]) for number, name in enumerate(names)]


def objective_colours(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each objective: grey and green for the bounds of the gap, a cycle for the others."""
    cycle = [colour for colour in LINES if colour not in _BOUNDS.values()]
    others = [name for name in names if name not in _BOUNDS]
    return _BOUNDS | {name: cycle[number % len(cycle)] for number, name in enumerate(others)}
