"""Draw expressions as FACS action units: one prototype per emotion, and random variation around it.

An action unit (AU) is the visible trace of one facial muscle (Ekman, Friesen and Hager, "Facial Action Coding System",
2002). The prototypes are those of the FACS Investigator's Guide / EMFACS: the muscles that make the emotion, and those
that often join in. No function depends on the domain: men and women have the same distribution of expressions.
"""

from dataclasses import dataclass

import numpy as np

from job.vocabulary import EMOTIONS

ACTION_UNITS = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    15: "lip corner depressor",
    16: "lower lip depressor",
    17: "chin raiser",
    20: "lip stretcher",
    23: "lip tightener",
    24: "lip pressor",
    25: "lips part",
    26: "jaw drop",
    43: "upper lid droop",
}


@dataclass(frozen=True)
class Prototype:
    """`core`: AU -> strength at full intensity. `optional`: AU -> (probability that it joins, strength)."""

    core: dict[int, float]
    optional: dict[int, tuple[float, float]]


PROTOTYPES = {
    "neutral": Prototype({}, {25: (0.1, 0.25), 43: (0.15, 0.25)}),
    "joy": Prototype({6: 0.8, 12: 1.0}, {7: (0.3, 0.4), 25: (0.6, 0.8), 26: (0.35, 0.5)}),
    "sadness": Prototype({1: 0.9, 4: 0.5, 15: 0.9}, {17: (0.5, 0.6), 43: (0.6, 0.5), 25: (0.15, 0.4)}),
    "surprise": Prototype({1: 0.9, 2: 0.9, 5: 0.8, 25: 0.7, 26: 0.9}, {}),
    "anger": Prototype({4: 1.0, 5: 0.4, 7: 0.6, 23: 0.9}, {24: (0.5, 0.7), 17: (0.4, 0.5)}),
    "fear": Prototype({1: 0.9, 2: 0.5, 4: 0.6, 5: 0.9, 20: 0.9, 25: 0.6}, {7: (0.3, 0.3), 26: (0.4, 0.4)}),
    "disgust": Prototype({9: 1.0, 10: 0.8, 15: 0.3}, {16: (0.4, 0.6), 17: (0.3, 0.5), 25: (0.4, 0.6), 6: (0.3, 0.3)}),
}
assert tuple(PROTOTYPES) == EMOTIONS

INTENSITY = (0.7, 1.0)  # FACS intensities C to E: people cannot distinguish slight ones (A, B) from neutral
JITTER = 0.12  # of each AU's strength, as a factor
ASYMMETRY = 0.1  # difference between the sides, as a factor
STRAY_PROBABILITY, STRAY_STRENGTH = 0.04, 0.2  # an AU unrelated to the emotion

Expression = dict[int, tuple[float, float]]  # AU -> (strength on the image's left, right), in [0, 1]


def express(emotion: str, rng: np.random.Generator, *, intensity: float | None = None) -> Expression:
    """Draw an expression of `emotion`, with a strength for every AU; `intensity` is random in INTENSITY by default."""
    prototype = PROTOTYPES[emotion]
    whole = rng.uniform(*INTENSITY) if intensity is None else intensity
    chance, jitter, stray = rng.random((3, len(ACTION_UNITS)))
    noise = rng.standard_normal((2, len(ACTION_UNITS)))
    expression = {}
    for i, unit in enumerate(ACTION_UNITS):
        probability, strength = prototype.optional.get(unit, (1.0, prototype.core.get(unit, 0.0)))
        level = whole * strength if chance[i] < probability else 0.0
        if level == 0.0 and stray[i] < STRAY_PROBABILITY:
            level = STRAY_STRENGTH * jitter[i]
        level *= 1 + JITTER * noise[0, i]
        side = ASYMMETRY * noise[1, i]
        expression[unit] = (_unit(level * (1 + side)), _unit(level * (1 - side)))
    return expression


def prototype_expression(emotion: str, intensity: float = 1.0) -> Expression:
    """Return the bare prototype: core AUs only, symmetric, without jitter."""
    core = PROTOTYPES[emotion].core
    return {unit: (_unit(intensity * core.get(unit, 0.0)),) * 2 for unit in ACTION_UNITS}


def mean(face: Expression, unit: int) -> float:
    """Return the mean strength of an action unit over both sides."""
    return 0.5 * (face[unit][0] + face[unit][1])


def _unit(value: float) -> float:
    return min(1.0, max(0.0, float(value)))
