"""Draw the relief of the skin as factors of light: broad shadows and highlights, folds and wrinkles."""

import cv2
import numpy as np

from job.face_drawing.action_units import Expression
from job.face_drawing.appearance import Identity, Shot
from job.face_drawing.canvas import BITS, UNCHANGED, blur, curve, disc, fixed, texture
from job.face_drawing.geometry import Points

FAINT = 0.05  # folds that darken less than this are not drawn


def relief(person: Identity, shot: Shot, face: Expression, points: Points, unit: float, side: int) -> np.ndarray:
    """Return a map of factors uint8 [side, side] for the skin; `unit` is the number of pixels per face unit."""
    broad, fine = _broad(person, face, points, 0.5 * unit, side // 2), _fine(person, face, points, unit, side)
    broad = cv2.resize(broad, (side, side), interpolation=cv2.INTER_LINEAR)
    factor = cv2.multiply(broad, fine, scale=1 / UNCHANGED)
    for kind, at in (("blotch", shot.at[1]), ("pores", shot.at[2])):
        factor = cv2.addWeighted(factor, 1, texture(kind, side, at), person.roughness, -UNCHANGED * person.roughness)
    return factor


def _broad(person: Identity, face: Expression, points: Points, unit: float, side: int) -> np.ndarray:
    """Draw cheeks, sockets, nose and outline of the head, at half the resolution because they are blurred."""
    layer = np.full((side, side), UNCHANGED, np.uint8)
    cv2.polylines(layer, [fixed(0.5 * curve(points["head"], True))], True, 66, round(0.14 * unit), cv2.LINE_AA, BITS)
    disc(layer, 0.5 * points["tip"][0] - (0, 0.62 * unit), 0.3 * unit, 138)  # forehead
    for i in (0, 1):
        au = {u: both[i] for u, both in face.items()}
        cv2.fillPoly(layer, [fixed(0.5 * points[f"eye{i}"])], 98, cv2.LINE_AA, BITS)
        _line(layer, 0.5 * points[f"crease{i}"], 0.22, 0.07 * unit)
        _line(layer, 0.5 * points[f"ridge{i}"], 0.17, 0.05 * unit)
        disc(layer, 0.5 * points[f"cheek{i}"][0], (0.15 + 0.02 * au[12]) * unit, int(143 + 14 * max(au[6], au[12])))
        _line(
            layer,
            0.5 * points[f"fold{i}"],
            0.08 + 0.2 * min(1.0, person.furrow) * max(au[12], au[9], au[10]),
            0.06 * unit,
        )
    disc(layer, 0.5 * points["tip"][0], 0.07 * unit, 168)
    disc(layer, 0.5 * points["chin"][0], 0.12 * unit, 142)
    _line(layer, 0.5 * points["under_nose"], 0.25, 0.05 * unit)
    _line(layer, 0.5 * points["under_lip"], 0.3, 0.05 * unit)
    return blur(layer, 0.055 * unit)


def _fine(person: Identity, face: Expression, points: Points, unit: float, side: int) -> np.ndarray:
    """Draw folds and wrinkles, which depend on age and action units."""
    layer = np.full((side, side), UNCHANGED, np.uint8)
    age, deep = person.age, person.furrow
    for i in (0, 1):
        au = {u: both[i] for u, both in face.items()}
        _line(
            layer,
            curve(points[f"fold{i}"]),
            deep * (0.12 * age + 0.42 * max(0.8 * au[12], au[9], 0.9 * au[10])),
            0.022 * unit,
        )
        _line(layer, points[f"bag{i}"], deep * (0.08 + 0.14 * age + 0.25 * au[6] + 0.1 * au[7]), 0.02 * unit)
        _line(layer, points[f"glabella{i}"], deep * (0.06 * age + 0.5 * au[4]), 0.022 * unit)
        wrinkle = 0.3 + 0.2 * age
        _line(layer, points[f"forehead{i}0"], deep * (0.06 * age + wrinkle * au[1]), 0.018 * unit)
        _line(layer, points[f"forehead{i}1"], deep * (0.06 * age + wrinkle * max(au[1], au[2])), 0.018 * unit)
        _line(layer, points[f"forehead{i}2"], deep * (0.06 * age + wrinkle * au[2]), 0.018 * unit)
        for j in range(3):
            _line(layer, points[f"crow{i}{j}"], deep * (0.2 + 0.3 * age) * au[6], 0.016 * unit)
            _line(layer, points[f"bridge{i}{j}"], deep * 0.5 * au[9], 0.02 * unit)
    _line(layer, points["philtrum"], 0.12, 0.04 * unit)
    _line(layer, points["under_lip"], deep * 0.17 * sum(face[17]), 0.03 * unit)
    return blur(layer, 0.012 * unit)


def _line(layer: np.ndarray, line: np.ndarray, depth: float, width: float) -> None:
    if depth > FAINT:
        value = int(UNCHANGED * max(0.2, 1 - depth))
        cv2.polylines(layer, [fixed(line)], False, value, max(1, round(width)), cv2.LINE_AA, BITS)
