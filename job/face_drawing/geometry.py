"""Compute the control points of all parts of a face from identity, expression and pose.

Face units: the origin is between the height of the eyes and the nose, x points to the right of the image, y down, z to
the camera; the chin is at y = 1, the temples at x = +-0.73. Sides: index 0 is the left of the image (x < 0), 1 the
right. Each action unit moves the points that its muscle moves; the pose rotates the points in 2.5 dimensions.
"""

import math

import numpy as np

from job.face_drawing.action_units import Expression, mean
from job.face_drawing.appearance import Identity, Shot
from job.face_drawing.hair import hair_outlines
from job.face_drawing.mouth import mouth

VIEW = 1.17  # half the width of the image, in face units
Points = dict[str, np.ndarray]  # part -> control points [n, 2] in pixels
SIDES = ((0, -1.0), (1, 1.0))


def landmarks(person: Identity, face: Expression, shot: Shot, side_pixels: int) -> Points:
    """Return the control points of every part, in pixels of an image of edge `side_pixels`."""
    parts: dict[str, list[tuple[float, float, float]]] = {}
    drop = 0.25 * mean(face, 26) - 0.03 * mean(face, 17)
    _head(parts, person, drop)
    for index, s in SIDES:
        level = {unit: both[index] for unit, both in face.items()}
        _eye(parts, person, level, index, s, shot.gaze)
        _brow(parts, person, level, index, s)
        _folds(parts, person, level, index, s, drop)
    _nose(parts, person, face)
    parts |= mouth(person, face, drop)
    parts["behind"], parts["over"] = hair_outlines(person)
    return _project(parts, shot, side_pixels)


def _head(parts: dict, p: Identity, drop: float) -> None:
    right = [
        (0.40 * p.face_width, -0.95, -0.2),
        (0.66 * p.face_width, -0.62, -0.2),
        (0.73 * p.face_width, -0.18, -0.25),
        (0.73 * p.cheek * p.face_width, 0.18, -0.2),
        (0.64 * p.jaw, 0.54 + 0.25 * drop, -0.1),
        (0.45 * p.jaw, 0.82 + 0.5 * drop, 0.05),
        (0.20 * p.chin, p.chin_y - 0.03 + 0.7 * drop, 0.15),
    ]
    parts["head"] = [(0, -1.02, -0.2), *right, (0, p.chin_y + 0.7 * drop, 0.15), *_mirror(right)]
    neck = 0.44 * p.jaw
    parts["neck"] = [
        (-neck, 0.5, -0.35),
        (neck, 0.5, -0.35),
        (neck, 1.15, -0.35),
        (neck + 0.2, 1.4, -0.35),
        (-neck - 0.2, 1.4, -0.35),
        (-neck, 1.15, -0.35),
    ]
    parts["shoulders"] = [
        (-1.5, 1.32, -0.4),
        (-0.62, 1.14, -0.4),
        (-0.3, 1.3, -0.4),
        (0.3, 1.3, -0.4),
        (0.62, 1.14, -0.4),
        (1.5, 1.32, -0.4),
        (1.5, 1.8, -0.4),
        (-1.5, 1.8, -0.4),
    ]
    for index, s in SIDES:
        x = s * 0.72 * p.face_width
        parts[f"ear{index}"] = [
            (x, -0.14, -0.4),
            (x + s * 0.1, -0.16, -0.4),
            (x + s * 0.12, 0.02, -0.4),
            (x + s * 0.05, 0.2, -0.4),
            (x, 0.18, -0.4),
        ]
    # The lower face, for stubble and beards: along the jaw and back under the cheekbones, around the mouth.
    cheeks = [(0.68 * p.jaw, 0.1, -0.2), *right[4:]]
    inner = [(0.16, p.mouth_y - 0.19, 0.38), (0.36, p.mouth_y - 0.08, 0.3), (0.56, 0.34, 0.05)]
    parts["beard"] = [*cheeks, (0, p.chin_y + 0.7 * drop + 0.03, 0.15), *_mirror(cheeks), *_mirror(inner), *inner]


def _eye(parts: dict, p: Identity, au: dict, index: int, s: float, gaze: tuple[float, float]) -> None:
    x, y, w = p.eye_x, p.eye_y, p.eye_width
    squeeze = 0.45 * au[6] + 0.45 * au[7] + 0.35 * au[9]
    up = p.eye_height * max(0.18, 1.0 + 0.85 * au[5] - 0.45 * squeeze - 0.65 * au[43] - 0.12 * au[4])
    low = p.eye_height * max(0.05, 0.62 + 0.1 * au[5] - 0.7 * squeeze)
    inner, outer = y + p.eye_tilt + 0.005, y - p.eye_tilt
    slope = 0.03 * au[1] * (1 - au[2])  # sadness and fear slant the upper lid
    a, b = s * (x - w), s * (x + w)
    parts[f"eye{index}"] = [
        (a, inner, 0.2),
        (s * (x - 0.45 * w), y - 0.8 * up - 0.5 * slope, 0.26),
        (s * (x + 0.1 * w), y - up, 0.27),
        (s * (x + 0.62 * w), y - 0.68 * up + slope, 0.22),
        (b, outer, 0.12),
        (s * (x + 0.45 * w), y + 0.9 * low, 0.22),
        (s * (x - 0.3 * w), y + low, 0.25),
    ]
    crease = up + 0.035 + 0.012 * au[5]
    parts[f"crease{index}"] = [
        (a, inner - 0.03, 0.2),
        (s * (x - 0.3 * w), y - crease, 0.26),
        (s * (x + 0.3 * w), y - crease, 0.25),
        (b + s * 0.02, outer - 0.025, 0.12),
    ]
    lift = 0.035 * squeeze
    parts[f"bag{index}"] = [
        (s * (x - 0.8 * w), y + 0.1 - lift, 0.22),
        (s * x, y + 0.13 - lift, 0.25),
        (s * (x + 0.9 * w), y + 0.09 - lift, 0.15),
    ]
    parts[f"iris{index}"] = [
        (s * x + gaze[0], y - 0.008 + gaze[1], 0.25),
        (s * x + gaze[0] + p.iris_radius, y - 0.008 + gaze[1], 0.25),
    ]
    for i, angle in enumerate((-0.35, 0.05, 0.45)):  # crow's feet
        c, d = math.cos(angle), math.sin(angle)
        parts[f"crow{index}{i}"] = [
            (b + s * 0.04 * c, outer + 0.01 + 0.06 * d, 0.1),
            (b + s * 0.15 * c, outer + 0.02 + 0.2 * d, 0.02),
        ]


def _brow(parts: dict, p: Identity, au: dict, index: int, s: float) -> None:
    knit = au[4] * (1 - 0.75 * au[1])  # with AU1 the brows draw together but rise at the inner end
    inner = p.brow_y + 0.015 - 0.18 * au[1] + 0.12 * knit + 0.045 * au[9]
    middle = p.brow_y - p.brow_arch - 0.07 * au[1] - 0.13 * au[2] + 0.09 * au[4] + 0.03 * au[9]
    outer = p.brow_y + 0.02 - 0.14 * au[2] + 0.04 * au[4] + 0.012 * au[6]
    pull = 0.045 * au[4] + 0.02 * au[9]
    x, w = p.eye_x, p.eye_width
    spine = [
        (s * (x - 1.15 * w - pull), inner, 0.3),
        (s * (x - 0.2 * w - 0.6 * pull), 0.5 * (inner + middle) - 0.012, 0.3),
        (s * (x + 0.7 * w), middle, 0.22),
        (s * (x + 1.5 * w), outer, 0.1),
    ]
    thick = [0.85, 1.0, 0.8, 0.15]
    half = 0.5 * p.brow_weight
    parts[f"brow{index}"] = [(px, py - half * t, z) for (px, py, z), t in zip(spine, thick)] + [
        (px, py + half * t, z) for (px, py, z), t in zip(spine[::-1], thick[::-1])
    ]
    parts[f"glabella{index}"] = [(s * 0.055, inner - 0.06, 0.33), (s * (0.05 - 0.01 * au[4]), inner + 0.07, 0.34)]
    for i, y in enumerate((-0.5, -0.6, -0.7)):  # forehead wrinkles move with the brow
        y = y - 0.06 * au[1] - 0.04 * au[2]
        arc = 0.05 * (au[1] - au[2])
        parts[f"forehead{index}{i}"] = [(0, y + 0.01 - arc, 0.25), (s * 0.2, y, 0.24), (s * 0.44, y + 0.03 + arc, 0.1)]


def _folds(parts: dict, p: Identity, au: dict, index: int, s: float, drop: float) -> None:
    raise_ = 0.05 * au[9] + 0.035 * au[10]
    out = 0.05 * au[12] + 0.03 * au[20] + 0.02 * au[10]
    top = p.nose_y - 0.06 - raise_
    parts[f"fold{index}"] = [
        (s * (p.nose_width + 0.04), top, 0.35),
        (s * (p.nose_width + 0.13 + out), top + 0.12, 0.3),
        (s * (p.mouth_width + 0.09 + out), p.mouth_y - 0.02 - 0.04 * au[12] + 0.3 * drop, 0.22),
    ]
    parts[f"cheek{index}"] = [(s * 0.43, 0.2 - 0.06 * au[6] - 0.03 * au[12], 0.2)]
    for i, y in enumerate((-0.16, -0.09, 0.0)):  # the wrinkles of AU9 on the bridge and beside it
        parts[f"bridge{index}{i}"] = [
            (0, y + 0.03, 0.45),
            (s * 0.075, y, 0.38),
            (s * (0.1 + 0.02 * i), y + 0.05 * i - 0.03, 0.33),
        ]


def _nose(parts: dict, p: Identity, face: Expression) -> None:
    wings = []
    for index, s in SIDES:
        lift = 0.05 * face[9][index] + 0.025 * face[10][index]
        w = p.nose_width * (1 + 0.14 * face[9][index] + 0.06 * face[12][index])
        y = p.nose_y - lift
        parts[f"wing{index}"] = [
            (s * 0.72 * w, y - 0.11, 0.42),
            (s * w, y - 0.05, 0.38),
            (s * 0.96 * w, y + 0.015, 0.38),
            (s * 0.66 * w, y + 0.025, 0.42),
        ]
        parts[f"nostril{index}"] = [
            (s * 0.22 * w, y + 0.025, 0.46),
            (s * 0.45 * w, y - 0.005, 0.45),
            (s * 0.7 * w, y + 0.015, 0.43),
            (s * 0.48 * w, y + 0.035, 0.44),
        ]
        parts[f"ridge{index}"] = [
            (s * 0.11, p.brow_y + 0.07, 0.3),
            (s * 0.075, p.eye_y + 0.04, 0.4),
            (s * 0.085, y - 0.13, 0.5),
        ]
        wings.append(y)
    y = sum(wings) / 2
    parts["tip"] = [(0, y - 0.09, 0.58)]
    parts["under_nose"] = [(-0.09, y + 0.04, 0.45), (0, y + 0.06, 0.48), (0.09, y + 0.04, 0.45)]
    parts["philtrum"] = [(0, y + 0.08, 0.45), (0, p.mouth_y - 0.1, 0.44)]


def _project(parts: dict, shot: Shot, side_pixels: int) -> Points:
    """Rotate by yaw, pitch and roll and convert to pixels, for all parts at once."""
    flat = np.array([point for points in parts.values() for point in points])
    x, y, z = flat.T
    # Bend points of one plane around the head.
    z = z - 0.12 * x * x
    turned_x = x * math.cos(shot.yaw) + z * math.sin(shot.yaw)
    turned_y = y * math.cos(shot.pitch) + z * math.sin(shot.pitch)
    c, s = math.cos(shot.roll), math.sin(shot.roll)
    scale = side_pixels / (2 * VIEW)
    pixels = np.empty((len(flat), 2))
    pixels[:, 0] = scale * (shot.zoom * (c * turned_x - s * turned_y) + VIEW + shot.shift[0])
    pixels[:, 1] = scale * (shot.zoom * (s * turned_x + c * turned_y) + VIEW + 0.03 + shot.shift[1])
    points, start = {}, 0
    for name, control in parts.items():
        points[name] = pixels[start : start + len(control)]
        start += len(control)
    return points


def _mirror(points: list) -> list:
    return [(-x, y, z) for x, y, z in reversed(points)]
