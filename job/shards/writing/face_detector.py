"""Detect faces: boxes by OpenCV's cascade, boxes and landmarks by YuNet."""

import threading
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from job.shards.alignment import Alignment
from job.system.errors import JobError, first_line

CASCADE = "haarcascade_frontalface_alt2.xml"  # Lienhart et al. 2003; it ships with OpenCV 4
SEARCH_EDGE = 480  # px: large images are shrunk to this for face detection, so that they take no longer
SMALLEST_FACE = 8  # the smallest detected face is 1 / 8 of the shorter edge
SMALLEST_EDGE = 20  # px: no face is searched for in smaller images
MARGIN = 1.3  # the cascade's square ends at chin and brows; emotions need mouth and forehead
_CANDIDATE = 0.3  # score from which on YuNet reports a face, for the reason why none is used
_OVERLAP = 0.3  # of two boxes of one face (intersection over union)
_MOST_FACES = 5000

_thread = threading.local()

Point = tuple[float, float]  # x, y in px
Box = tuple[int, int, int, int]  # top, left, height, width in px


class Face(NamedTuple):
    """A face in an upright photo, in px: the detector's box, its landmarks and its score.

    The landmarks are those of YuNet: eye, eye, nose tip, corner of the mouth, corner of the mouth; of a pair the one on
    the left of the image comes first. The cascade gives neither landmarks nor a score, but the `square` to crop.
    """

    left: float
    top: float
    width: float
    height: float
    points: tuple[Point, ...] = ()
    score: float | None = None
    square: Box | None = None


class Detector(Protocol):
    """Find the faces of an image."""

    def faces(self, image: np.ndarray, photo: tuple[int, int] | None = None) -> list[Face]:
        """Return the faces of an image uint8 [H, W, 3], the largest first, in px of the photo.

        `photo` is the height and width of the photo, if the image is a reduced copy of it.
        """

    def reason(self) -> str:
        """Return why the last image has no face."""


class Cascade:
    """OpenCV's cascade for upright frontal faces. Raises JobError when it is not installed."""

    def __init__(self) -> None:
        self._cascade = load_cascade()
        self._reason = ""

    def faces(self, image: np.ndarray, photo: tuple[int, int] | None = None) -> list[Face]:
        """Return the faces as a Detector does, among equals the first from the top left.

        The detector's own order is undefined.
        """
        photo = photo or image.shape[:2]
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        height, width = grey.shape
        shrink = max(1.0, max(height, width) / SEARCH_EDGE)
        if shrink > 1:
            small = (max(1, round(width / shrink)), max(1, round(height / shrink)))
            grey = cv2.resize(grey, small, interpolation=cv2.INTER_AREA)
        shrink *= max(photo) / max(height, width)
        least = max(SMALLEST_EDGE, min(grey.shape) // SMALLEST_FACE)
        found = self._cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=3, minSize=(least, least))
        self._reason = f"no upright frontal face of {round(least * shrink)} px or more"
        boxes = sorted(np.asarray(found).reshape(-1, 4).tolist(), key=lambda box: (-box[2] * box[3], box[1], box[0]))
        return [
            Face(x * shrink, y * shrink, w * shrink, h * shrink, square=_square(x, y, w, h, shrink, photo))
            for x, y, w, h in boxes
        ]

    def reason(self) -> str:
        return self._reason


class YuNet:
    """YuNet by OpenCV's `FaceDetectorYN`. Raises JobError when OpenCV cannot use the file at `model`."""

    def __init__(self, model: str, alignment: Alignment) -> None:
        if not hasattr(cv2, "FaceDetectorYN"):
            raise JobError(
                f"OpenCV {cv2.__version__} has no FaceDetectorYN: pip install 'opencv-python-headless>=4.11'"
            )
        try:
            self._net = cv2.FaceDetectorYN.create(model, "", (320, 320), _CANDIDATE, _OVERLAP, _MOST_FACES)
        except cv2.error as error:
            raise JobError(f"OpenCV cannot use the face detector {model}: {first_line(error)}") from None
        self._alignment = alignment
        self._reason = ""

    def faces(self, image: np.ndarray, photo: tuple[int, int] | None = None) -> list[Face]:
        """Return the faces as a Detector does.

        The image is searched at each of `search_edges` (px of its longer edge; it is not enlarged) until a face is
        found: the network is trained for faces of 10 to 300 px, and a portrait may contain a larger one.
        """
        best = 0.0
        for edge in self._edges(max(image.shape[:2])):
            found = self._search(image, edge, photo or image.shape[:2])
            best = max([best, *(face.score or 0.0 for face in found)])
            kept = [face for face in found if (face.score or 0.0) >= self._alignment.least_score]
            if kept:
                return sorted(kept, key=lambda face: (-face.width * face.height, face.top, face.left))
        least = self._alignment.least_score
        self._reason = f"the best face has a score of {best:.2f}, less than {least:g}" if best else "no face"
        return []

    def reason(self) -> str:
        return self._reason

    def _edges(self, longest: int) -> list[int]:
        return list(dict.fromkeys(min(edge, longest) for edge in self._alignment.search_edges))

    def _search(self, image: np.ndarray, edge: int, photo: tuple[int, int]) -> list[Face]:
        height, width = image.shape[:2]
        shrink = max(height, width) / edge
        small = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if shrink > 1:
            size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
            small = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
        self._net.setInputSize(small.shape[1::-1])
        _, rows = self._net.detect(small)
        scale = np.array([photo[1] / small.shape[1], photo[0] / small.shape[0]])
        faces = []
        for row in np.zeros((0, 15)) if rows is None else rows.astype(np.float64):
            # rounded, so that the last bits of a processor's floating-point arithmetic rarely matter
            pairs = (row[:14].reshape(7, 2) * scale).round(2)
            if np.isfinite(pairs).all() and (pairs[1] > 0).all():
                (left, top), (box_width, box_height), *points = map(tuple, pairs.tolist())
                faces.append(Face(left, top, box_width, box_height, tuple(points), round(float(row[14]), 4)))
        return faces


def _square(x: int, y: int, w: int, h: int, shrink: float, shape: tuple[int, int]) -> Box:
    """Return a square with a margin around a box of the shrunken image; it is moved, then shrunk, to fit the image."""
    height, width = shape
    edge = min(round(MARGIN * max(w, h) * shrink), height, width)
    top = round((y + h / 2) * shrink - edge / 2)
    left = round((x + w / 2) * shrink - edge / 2)
    return min(max(top, 0), height - edge), min(max(left, 0), width - edge), edge, edge


def detector(model: str | None, alignment: Alignment | None) -> Detector:
    """Return this thread's YuNet with the file `model`, or its cascade without an alignment."""
    known: dict[tuple, Detector] = _thread.__dict__.setdefault("detectors", {})
    key = (model, alignment)
    if key not in known:
        known[key] = Cascade() if alignment is None or model is None else YuNet(model, alignment)
    return known[key]


def load_cascade() -> Any:
    """Load the frontal-face cascade. OpenCV 5 moved it, without its data, to another package.

    Raises JobError when it is missing.
    """
    if not hasattr(cv2, "CascadeClassifier"):
        raise JobError(
            f"--crop face needs the face detector of OpenCV 4, and {cv2.__version__} is installed: "
            "pip install 'opencv-python-headless>=4.11,<5'"
        )
    folder: str = cv2.data.haarcascades  # type: ignore[attr-defined]
    cascade = cv2.CascadeClassifier(folder + CASCADE)
    if cascade.empty():
        raise JobError(f"OpenCV {cv2.__version__} lacks {CASCADE}: pip install 'opencv-python-headless>=4.11,<5'")
    return cascade
