"""Colours that every figure and page shares; each can be told apart on white and on near-black."""

from collections.abc import Sequence

SOURCE, TARGET = "#3b6fd4", "#e8833a"
ROLE = {"source": SOURCE, "target": TARGET}
_OBJECTIVES = {"source_only": "#8a8f98", "dann": "#3b6fd4", "train_on_target": "#3ca951"}
_EMOTIONS = {
    "neutral": "#8a8f98",
    "joy": "#e0a800",
    "sadness": "#3f6fd8",
    "surprise": "#19b3c4",
    "anger": "#e0483e",
    "fear": "#9a5bd6",
    "disgust": "#3ca951",
}
_OTHERS = [*_EMOTIONS.values(), "#e86fa8", "#9c6b4e", "#5aa9ff"]


def class_colours(names: Sequence[str]) -> list[str]:
    """A colour for each class: the emotions have their own, other classes take turns."""
    return [_EMOTIONS.get(name, _OTHERS[number % len(_OTHERS)]) for number, name in enumerate(names)]


def objective_colour(name: str) -> str:
    return _OBJECTIVES.get(name, "#9a5bd6")
