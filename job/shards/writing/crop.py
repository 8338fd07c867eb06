"""Crop an image to the part that becomes the sample: all of it, the centre, or the face."""

import math
from typing import NamedTuple

import cv2
import numpy as np

from job.shards.alignment import Alignment
from job.shards.writing.face_detector import Box, Face, Point, YuNet, detector, load_cascade
from job.shards.writing.face_model import find_model, model_of
from job.system.errors import JobError

CROPS = ("none", "center", "face")
LARGEST_CROP = 2048  # px: the edge of an aligned crop before it is resized
CLOSEST_EYES = 4.0  # px: closer eyes say nothing about the angle


class CropSettings(NamedTuple):
    """How images are cropped: one of CROPS and, for aligned faces, the alignment and the path of its detector.

    `scaling` is the version of the rule by which large JPEGs are decoded at a reduced size (`photo.py`), 0 for never.
    """

    kind: str = "center"
    alignment: Alignment | None = None
    model: str | None = None
    scaling: int = 0

    @property
    def state(self) -> tuple:
        """What the pixels depend on; the path of the detector is not part of it."""
        return (self.kind, self.alignment, *[self.scaling] * bool(self.scaling))


class Crop(NamedTuple):
    """A part of an image, uint8 [H, W, 3].

    `face` is the face in it, in px of the image, or None; `reason` says why there is none. `outline` holds the corners
    of the detector's box and `points` its landmarks, as shares of the crop's edge: both empty unless the face was
    aligned.
    """

    pixels: np.ndarray
    face: Face | None = None
    reason: str | None = None
    outline: tuple[Point, ...] = ()
    points: tuple[Point, ...] = ()


def crop_settings(kind: str, face_model: str) -> CropSettings:
    """Return the settings for new shards. Raises JobError when the detector cannot be had or used."""
    found = find_model(face_model)
    if found is None:
        if kind == "face":
            load_cascade()
        return CropSettings(kind)
    alignment, model = found
    YuNet(str(model), alignment)  # not kept: processes that are started later make their own
    return CropSettings(kind, alignment, str(model))


def repeated_settings(kind: str, alignment: Alignment | None, face_model: str | None = None) -> CropSettings:
    """Return the settings that a manifest or a checkpoint describes. `face_model` is where the detector's file is.

    Raises JobError when the detector cannot be had.
    """
    if alignment is None:
        if face_model is not None:
            raise JobError(f"--face-model {face_model}: the training images were not aligned; leave it out")
        return CropSettings(kind)
    return CropSettings(kind, alignment, str(model_of(alignment, face_model)))


def crop(image: np.ndarray, size: int, settings: CropSettings, *, all_faces: bool = False) -> list[Crop]:
    """Return the parts of an image uint8 [H, W, 3] for samples of `size` px: one, or with `all_faces` every face.

    The crop "face" takes the largest face, or the whole image where none is found; `encode` then takes its centre.
    Raises JobError when the detector cannot be used.
    """
    if settings.kind != "face":
        return [Crop(image)]
    finder = detector(settings.model, settings.alignment)
    faces = finder.faces(image)
    if not faces:
        return [Crop(image, reason=finder.reason())]
    crops = [
        Crop(image, reason=reason) if (reason := too_small(face)) else cut(image, face, size, settings.alignment)
        for face in (faces if all_faces else faces[:1])
    ]
    return usable(crops)


def usable(crops: list[Crop]) -> list[Crop]:
    """Return the crops that contain a face, or the first one if none does."""
    return [made for made in crops if made.reason is None] or crops[:1]


def too_small(face: Face) -> str | None:
    """Return why a face cannot be aligned, None if it can or has no landmarks."""
    distance = math.dist(face.points[0], face.points[1]) if face.points else CLOSEST_EYES
    return f"the eyes are {distance:.1f} px apart, less than {CLOSEST_EYES:g}" if distance < CLOSEST_EYES else None


def cut(image: np.ndarray, face: Face, size: int, alignment: Alignment | None) -> Crop:
    """Cut a face, in px of an image uint8 [H, W, 3], out of it, for a sample of `size` px."""
    if alignment is None:
        return Crop(crop_to(image, face.square), face)
    matrix, edge, filtering = similarity(face.points, size, alignment)
    pixels = cv2.warpAffine(image, matrix, (edge, edge), flags=filtering, borderMode=cv2.BORDER_REPLICATE)
    right, bottom = face.left + face.width, face.top + face.height
    corners = ((face.left, face.top), (right, face.top), (right, bottom), (face.left, bottom))
    outline, points = (_moved(matrix, part, edge) for part in (corners, face.points))
    return Crop(pixels, face, None, outline, points)


def similarity(points: tuple[Point, ...], size: int, alignment: Alignment) -> tuple[np.ndarray, int, int]:
    """Return the matrix float64 [2, 3] from px of a photo to px of the aligned crop, the crop's edge, and the filter.

    The eyes become level, their middle lies at `eye_height` on the vertical axis, and their distance is `eye_distance`
    of the edge. A turned head, whose eyes are closer than `turned` of the way from them to the mouth, is scaled by that
    way instead and turned by the mean angle of both lines, as Karras et al. 2019 do (FFHQ). The crop has the photo's
    resolution, at least `size` and at most LARGEST_CROP.
    """
    wanted, direction, middle = _measured(points, alignment)
    edge = min(max(round(wanted), size), LARGEST_CROP)
    angle, scale = math.atan2(direction[1], direction[0]), edge / wanted
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    shift = np.array([(edge - 1) / 2, alignment.eye_height * edge - 0.5]) - turn @ middle
    return np.column_stack([turn, shift]), edge, cv2.INTER_CUBIC if wanted < size else cv2.INTER_LINEAR


def similarity_edge(points: tuple[Point, ...], alignment: Alignment | None) -> float:
    """Return the edge of the aligned crop in px of the photo."""
    assert alignment is not None
    return _measured(points, alignment)[0]


def _measured(points: tuple[Point, ...], alignment: Alignment) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the edge of the aligned crop in px of the photo, the direction that becomes level, the eyes' middle."""
    left, right, _, *mouth = np.asarray(points, np.float64)
    across, middle = right - left, (left + right) / 2
    down = (mouth[0] + mouth[1]) / 2 - middle
    unit, direction = math.hypot(*across), across
    least = alignment.turned * math.hypot(*down)
    if unit < least:
        unit, direction = least, across + np.array([down[1], -down[0]])
    return unit / alignment.eye_distance, direction, middle


def _moved(matrix: np.ndarray, points: tuple[Point, ...], edge: int) -> tuple[Point, ...]:
    """Return points of the photo as shares of the crop's edge."""
    moved = (np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2] + 0.5) / edge
    return tuple((round(float(x), 4), round(float(y), 4)) for x, y in moved)


def crop_to(image: np.ndarray, box: Box | None) -> np.ndarray:
    """Return the part of an image [H, W, 3] in the box, all of it without a box; a view, not a copy."""
    if box is None:
        return image
    top, left, height, width = box
    return image[top : top + height, left : left + width]


def central_square(image: np.ndarray) -> np.ndarray:
    """Return the largest central square of an image [H, W, 3]; a view, not a copy."""
    edge = min(image.shape[:2])
    if image.shape[:2] == (edge, edge):
        return image
    top, left = (image.shape[0] - edge) // 2, (image.shape[1] - edge) // 2
    return image[top : top + edge, left : left + edge]
