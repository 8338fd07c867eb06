"""Render identity, expression and shot to pixels: paint back to front on a supersampled canvas."""

import math

import cv2
import numpy as np

from job.face_drawing.action_units import Expression
from job.face_drawing.appearance import Identity, Shot
from job.face_drawing.canvas import UNCHANGED, Canvas, blur, curve, fixed, texture
from job.face_drawing.geometry import VIEW, Points, landmarks
from job.face_drawing.relief import relief

MIN_CANVAS = 96  # pixels per edge


def render(person: Identity, face: Expression, shot: Shot, size: int) -> np.ndarray:
    """Render a face as uint8 RGB [size, size, 3]."""
    side = size * max(2, math.ceil(MIN_CANVAS / size))
    points = landmarks(person, face, shot, side)
    unit = side / (2 * VIEW)  # pixels per face unit
    canvas = Canvas(_wall(shot, side))
    head = _head(canvas, person, points)
    canvas.shade(relief(person, shot, face, points, unit, side), head)
    _make_up(canvas, person, points, unit)
    _beard(canvas, person, shot, points, unit)
    for index in (0, 1):
        _eye(canvas, person, points, index, unit)
    _nose(canvas, person, points, unit)
    _mouth(canvas, person, points, unit)
    _moustache(canvas, person, shot, points, unit)
    _brows(canvas, person, shot, points)
    _hair(canvas, person, shot, points)
    return _photograph(canvas.pixels, shot, size)


def _wall(shot: Shot, side: int) -> np.ndarray:
    coarse = side // 4
    ramp = np.linspace(1 - shot.wall_light / 2, 1 + shot.wall_light / 2, coarse, dtype=np.float32)
    spots = texture("wall", coarse, shot.at[0]).astype(np.float32)[..., None]
    share = np.clip(0.5 + (spots - UNCHANGED) * np.float32(2 / UNCHANGED), 0, 1) * np.float32(shot.clutter)
    wall, garden = np.asarray(shot.wall, np.float32), np.asarray(shot.garden, np.float32)
    wall = np.minimum((wall + share * (garden - wall)) * ramp[:, None, None], 255).astype(np.uint8)
    return cv2.resize(wall, (side, side), interpolation=cv2.INTER_LINEAR)


def _head(canvas: Canvas, person: Identity, points: Points) -> np.ndarray:
    """Paint hair behind the head, neck, shoulders, ears and the bare head; return the mask of the head."""
    if len(points["behind"]):
        canvas.fill(curve(points["behind"], closed=True), _scale(person.hair, 0.75))
    canvas.fill(points["neck"], _scale(person.skin, 0.74))
    canvas.fill(curve(points["shoulders"], closed=True), person.clothes)
    for index in (0, 1):
        canvas.fill(curve(points[f"ear{index}"], closed=True), _scale(person.skin, 0.86))
    outline = curve(points["head"], closed=True)
    canvas.fill(outline, person.skin)
    return canvas.mask(outline)


def _make_up(canvas: Canvas, person: Identity, points: Points, unit: float) -> None:
    if person.eye_shadow:
        for i in (0, 1):
            lid = np.concatenate([points[f"eye{i}"][:5], points[f"crease{i}"][::-1] - (0, 0.02 * unit)])
            here, corner = canvas.around(lid, 0.05 * unit)
            lid_mask = blur(here.mask(lid - corner), 0.02 * unit)
            here.blend(cv2.convertScaleAbs(lid_mask, alpha=person.eye_shadow), person.shadow)
    if person.blush:
        for i in (0, 1):
            cheek = points[f"cheek{i}"]
            here, corner = canvas.around(cheek, 0.3 * unit)
            disc = Canvas(np.zeros(here.size, np.uint8))
            disc.disc(cheek[0] - corner, 0.15 * unit, 255)
            here.blend(
                cv2.convertScaleAbs(cv2.blur(disc.pixels, (round(0.2 * unit),) * 2), alpha=person.blush),
                (214.0, 96.0, 104.0),
            )


def _beard(canvas: Canvas, person: Identity, shot: Shot, points: Points, unit: float) -> None:
    amount = max(0.7 * person.stubble, person.beard)
    if amount:
        region = blur(canvas.mask(curve(points["beard"], closed=True), points["moustache"]), 0.025 * unit)
        bristle = texture("bristle", canvas.size[0], shot.at[3])
        canvas.blend(cv2.multiply(region, bristle, scale=amount / UNCHANGED), _scale(person.hair, 0.9))


def _eye(canvas: Canvas, person: Identity, points: Points, index: int, unit: float) -> None:
    lids = curve(points[f"eye{index}"], closed=True)
    upper, lower = lids[:17], lids[16:]  # 4 samples per segment
    here, corner = canvas.around(lids, 1)
    ball = Canvas(np.empty_like(here.pixels))
    white = min(1.0, 0.72 + 0.28 * sum(person.skin) / 600)
    ball.pixels[:] = (int(232 * white), int(228 * white), int(224 * white))
    centre, rim = points[f"iris{index}"] - corner
    radius = math.hypot(*(rim - centre))
    ball.disc(centre, radius, _scale(person.iris, 0.55))
    ball.disc(centre, 0.82 * radius, person.iris)
    ball.disc(centre, 0.45 * radius, (12.0, 10.0, 10.0))
    ball.disc(centre - 0.35 * radius, 0.22 * radius, (245.0, 245.0, 245.0))
    ball.stroke(upper - corner, (96.0, 84.0, 80.0), 0.03 * unit)  # the lid's shadow on the eyeball
    here.blend(ball.mask(lids - corner), ball.pixels)
    lash = _scale(person.skin, 0.45 - 0.33 * person.lashes)
    canvas.stroke(upper, lash, (0.016 + 0.022 * person.lashes) * unit)
    if person.lashes > 0.4:
        wing = np.stack([upper[-1], upper[-1] + 0.7 * (upper[-1] - upper[-3]) - (0, 0.02 * unit)])
        canvas.stroke(wing, lash, 0.03 * unit)
    canvas.stroke(lower, _scale(person.skin, 0.62 - 0.15 * person.lashes), 0.01 * unit)
    canvas.stroke(curve(points[f"crease{index}"]), _scale(person.skin, 0.6), 0.012 * unit)


def _nose(canvas: Canvas, person: Identity, points: Points, unit: float) -> None:
    for i in (0, 1):
        canvas.stroke(curve(points[f"wing{i}"]), _scale(person.skin, 0.66), 0.018 * unit)
        canvas.fill(points[f"nostril{i}"], _scale(person.skin, 0.34))


def _mouth(canvas: Canvas, person: Identity, points: Points, unit: float) -> None:
    upper_out, upper_in, lower_in, lower_out = (
        curve(points[name]) for name in ("upper_out", "upper_in", "lower_in", "lower_out")
    )
    gap = float(points["lower_in"][3, 1] - points["upper_in"][3, 1])
    if gap > 0.015 * unit:
        hole = np.concatenate([upper_in, lower_in[::-1]])
        here, corner = canvas.around(hole, 1)
        inside = Canvas(np.empty_like(here.pixels))
        inside.pixels[:] = (58, 20, 22)
        inside.fill(points["tongue"] - corner, (172.0, 82.0, 84.0))
        inside.fill(points["lower_teeth"] - corner, (200.0, 192.0, 178.0))
        inside.fill(points["upper_teeth"] - corner, (232.0, 226.0, 214.0))
        here.blend(here.mask(hole - corner), inside.pixels)
    canvas.fill(np.concatenate([upper_out, upper_in[::-1]]), _scale(person.lips, 0.88))
    canvas.fill(np.concatenate([lower_in, lower_out[::-1]]), person.lips)
    shine = 0.4 * points["lower_in"][2:5] + 0.6 * points["lower_out"][2:5]
    canvas.stroke(shine, _scale(person.lips, 1.14 + 0.1 * person.lipstick), 0.02 * unit)
    if gap <= 0.03 * unit:
        canvas.stroke(upper_in, _scale(person.lips, 0.42), 0.02 * unit)
    for corner in (upper_in[0], upper_in[-1]):
        canvas.disc(corner, 0.018 * unit, _scale(person.skin, 0.5))


def _moustache(canvas: Canvas, person: Identity, shot: Shot, points: Points, unit: float) -> None:
    if person.moustache:
        outline = curve(points["moustache"], closed=True)
        here, corner = canvas.around(outline, 0.04 * unit)
        bristle = texture("bristle", canvas.size[0], shot.at[4])[: here.size[0], : here.size[1]]
        region = blur(here.mask(outline - corner), 0.012 * unit)
        here.blend(cv2.multiply(region, bristle, scale=1.2 * person.moustache / UNCHANGED), person.hair)


def _brows(canvas: Canvas, person: Identity, shot: Shot, points: Points) -> None:
    colour = tuple(0.75 * h + 0.05 * s for h, s in zip(person.hair, person.skin))
    for i in (0, 1):
        outline = np.concatenate([curve(points[f"brow{i}"][:4]), curve(points[f"brow{i}"][4:])])
        here, corner = canvas.around(outline, 1)
        bristle = texture("bristle", canvas.size[0], shot.at[5])[: here.size[0], : here.size[1]]
        here.blend(cv2.multiply(here.mask(outline - corner), bristle, scale=0.95 / UNCHANGED), colour)


def _hair(canvas: Canvas, person: Identity, shot: Shot, points: Points) -> None:
    outline = curve(points["over"], closed=True)
    canvas.fill(outline, person.hair)
    mask = np.zeros(canvas.size, np.uint8)
    cv2.fillPoly(mask, [fixed(outline)], 255, cv2.LINE_8, 4)
    canvas.shade(texture("strand", canvas.size[0], shot.at[6]), mask)


def _photograph(pixels: np.ndarray, shot: Shot, size: int) -> np.ndarray:
    """Apply lens, light, colour and sensor of the shot. Both domains take the same steps with other parameters."""
    image = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)
    image = blur(image, shot.defocus * size / 64)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    light = (shot.light * shot.contrast) * (1 + shot.side_light * ramp[None, :] - shot.top_light * ramp[:, None])
    patches = texture("grain", 6, shot.at[8]).astype(np.float32) * np.float32(shot.dapple / 12.8) - shot.dapple * 10
    light *= 1 + cv2.resize(patches, (size, size), interpolation=cv2.INTER_CUBIC)
    image = image * (light[..., None] * np.asarray(shot.cast, np.float32))
    noise = texture("grain", size, shot.at[7]) * np.float32(shot.grain / 12.8)
    image += (noise + np.float32(128 * (1 - shot.contrast) - shot.grain * 10))[..., None]
    return np.clip(image, 0, 255, out=image).astype(np.uint8)


def _scale(colour: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    return (min(255.0, factor * colour[0]), min(255.0, factor * colour[1]), min(255.0, factor * colour[2]))
