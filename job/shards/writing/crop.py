"""Crop an image to the part that becomes the sample: all of it, the centre, or the face."""

import threading

import cv2
import numpy as np

from job.system.errors import JobError

CROPS = ("none", "center", "face")
CASCADE = "haarcascade_frontalface_alt2.xml"  # Lienhart et al. 2003; it ships with OpenCV 4
SEARCH_EDGE = 480  # px: large images are shrunk to this for face detection, so that they take no longer
SMALLEST_FACE = 8  # the smallest detected face is 1 / 8 of the shorter edge
MARGIN = 1.3  # the detector's square ends at chin and brows; emotions need mouth and forehead

_thread = threading.local()

Box = tuple[int, int, int, int]  # top, left, height, width in px


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


def find_face(image: np.ndarray) -> Box | None:
    """Return a square around the largest upright frontal face of an image uint8 [H, W, 3], with a margin, or None.

    The square is moved, then shrunk, to fit into the image. Raises JobError when no detector is installed.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    shrink = max(1.0, max(height, width) / SEARCH_EDGE)
    if shrink > 1:
        small = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        grey = cv2.resize(grey, small, interpolation=cv2.INTER_AREA)
    least = max(20, min(grey.shape) // SMALLEST_FACE)
    faces = _detector().detectMultiScale(grey, scaleFactor=1.1, minNeighbors=3, minSize=(least, least))
    if len(faces) == 0:
        return None
    # the largest; among equals the first from the top left, because the detector's order is undefined
    x, y, w, h = max(np.asarray(faces).tolist(), key=lambda face: (face[2] * face[3], -face[1], -face[0]))
    edge = min(round(MARGIN * max(w, h) * shrink), height, width)
    top = round((y + h / 2) * shrink - edge / 2)
    left = round((x + w / 2) * shrink - edge / 2)
    return min(max(top, 0), height - edge), min(max(left, 0), width - edge), edge, edge


def _detector():
    """Return this thread's frontal-face cascade of OpenCV. OpenCV 5 moved it, without its data, to another package."""
    if hasattr(_thread, "detector"):
        return _thread.detector
    check_detector()
    detector = cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE)
    if detector.empty():
        raise JobError(f"OpenCV {cv2.__version__} lacks {CASCADE}: pip install 'opencv-python-headless>=4.11,<5'")
    _thread.detector = detector
    return detector


def check_detector() -> None:
    """Raise JobError when the installed OpenCV has no face detector."""
    if not hasattr(cv2, "CascadeClassifier"):
        raise JobError(
            f"--crop face needs the face detector of OpenCV 4, and {cv2.__version__} is installed: "
            "pip install 'opencv-python-headless>=4.11,<5'"
        )
