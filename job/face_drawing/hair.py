"""Compute hair as two closed curves in face units: one behind the head, one over it."""

import math

from job.face_drawing.appearance import Identity

Outline = list[tuple[float, float, float]]


def hair_outlines(p: Identity) -> tuple[Outline, Outline]:
    """Return (behind, over), control points (x, y, z); `behind` is empty for short hair."""
    w, v, part = p.face_width, p.hair_volume, p.parting
    crown = [
        (-0.8 * w - 0.3 * v, -0.35, -0.3),
        (-0.72 * w - 0.6 * v, -0.78, -0.3),
        (-0.4 * w, -1.03 - v, -0.3),
        (0, -1.08 - v, -0.25),
        (0.4 * w, -1.03 - v, -0.3),
        (0.72 * w + 0.6 * v, -0.78, -0.3),
        (0.8 * w + 0.3 * v, -0.35, -0.3),
    ]
    if p.hair_style in ("long", "bob"):
        reach = 1.5 if p.hair_style == "long" else 0.72
        side = [
            (0.86 * w + v, -0.2, -0.4),
            (0.9 * w + v, 0.3, -0.4),
            (0.88 * w + v, 0.7 * reach, -0.4),
            (0.6 * w, reach, -0.4),
        ]
        behind = [*_mirror(side), *crown[1:-1], *side]
        lock = [
            (0.86 * w + v, 0.1, -0.1),
            (0.88 * w + v, 0.6 * reach, -0.1),
            (0.74 * w + 0.5 * v, reach, -0.1),
            (0.68 * w, 0.7 * reach, -0.05),
            (0.68 * w, 0.1, -0.05),
            (0.62 * w, -0.36, 0.0),
            (0.34 * w + 0.5 * part, -0.7, 0.05),
        ]
        left = [(-0.34 * w + 0.5 * part, -0.7, 0.05), *_mirror(lock)[1:]]
        return behind, [*crown, *lock, (part, -0.88, 0.05), *left]
    temple = [(0.75 * w, -0.02, -0.2), (0.68 * w, -0.04, -0.15), (0.67 * w, -0.34, -0.1)]
    if p.hair_style == "fringe":
        side = [(0.9 * w + v, 0.1, -0.4), (0.86 * w + v, 0.8, -0.4), (0.5 * w, 1.3, -0.4)]
        fringe = [
            (0.64 * w, -0.36, 0.05),
            (0.35 * w, -0.44, 0.15),
            (part, -0.47, 0.2),
            (-0.35 * w, -0.44, 0.15),
            (-0.64 * w, -0.36, 0.05),
        ]
        temple = [(0.8 * w, 0.5, -0.2), (0.71 * w, 0.4, -0.15), (0.69 * w, -0.1, -0.1)]
        return [*_mirror(side), *crown[1:-1], *side], [*crown, *temple, *fringe, *_mirror(temple)]
    if p.hair_style == "receding":
        line = [
            (0.6 * w, -0.62, 0.0),
            (0.42 * w, -0.9, 0.0),
            (0, -0.84, 0.05),
            (-0.42 * w, -0.9, 0.0),
            (-0.6 * w, -0.62, 0.0),
        ]
    elif p.hair_style == "quiff":
        line = [
            (0.58 * w, -0.6, 0.05),
            (0.3 * w, -0.76 - part / 8, 0.1),
            (part, -0.8, 0.1),
            (-0.3 * w, -0.76 + part / 8, 0.1),
            (-0.58 * w, -0.6, 0.05),
        ]
        crown[2:5] = [(x + part / 2, y - 0.06, z) for x, y, z in crown[2:5]]
    elif p.hair_style == "curly":
        arc = [math.pi * (1 + i / 18) for i in range(19)]
        crown = [
            ((0.82 * w + v + 0.03 * (i % 2)) * math.cos(a), -0.3 + (0.82 + v + 0.03 * (i % 2)) * math.sin(a), -0.25)
            for i, a in enumerate(arc)
        ]
        line = [(0.55 * w - 0.22 * i * w / 2, -0.64 - 0.05 * (i % 2), 0.05) for i in range(11)]
    else:  # crop, tied
        line = [
            (0.6 * w, -0.6, 0.05),
            (0.32 * w, -0.74, 0.1),
            (0, -0.77 + 0.1 * part, 0.1),
            (-0.32 * w, -0.74, 0.1),
            (-0.6 * w, -0.6, 0.05),
        ]
    behind = []
    if p.hair_style == "tied":
        behind = [(-0.3, -1.0, -0.4), (-0.33, -1.22, -0.4), (0, -1.36, -0.4), (0.33, -1.22, -0.4), (0.3, -1.0, -0.4)]
    return behind, [*crown, *temple, *line, *_mirror(temple)]


def _mirror(points: Outline) -> Outline:
    return [(-x, y, z) for x, y, z in reversed(points)]
