"""Which part of a picture becomes the sample: all of it, the centre, or the face."""

import threading

import cv2
import numpy as np

from job.system.errors import JobError

CROPS = ("none", "center", "face")
CASCADE = "haarcascade_frontalface_alt2.xml"  # Lienhart et al. 2003; it ships with OpenCV 4
SEARCH_EDGE = 480  # px: pictures are shrunk to this for the search, so that a large one takes no longer
SMALLEST_FACE = 8  # the smallest face looked for, as a share of the shorter edge: one in eight
MARGIN = 1.3  # the detector's square ends at chin and brows; emotions need mouth and forehead

_own = threading.local()

Box = tuple[int, int, int, int]  # top, left, height, width in px


def crop_to(image: np.ndarray, box: Box | None) -> np.ndarray:
    """The part of a picture [H, W, 3] in the box, not copied; all of it where there is none."""
    if box is None:
        return image
    top, left, height, width = box
    return image[top : top + height, left : left + width]


def central_square(image: np.ndarray) -> np.ndarray:
    """The largest square in the middle of a picture [H, W, 3], not copied."""
    edge = min(image.shape[:2])
    if image.shape[:2] == (edge, edge):
        return image
    top, left = (image.shape[0] - edge) // 2, (image.shape[1] - edge) // 2
    return image[top : top + edge, left : left + edge]


def find_face(image: np.ndarray) -> Box | None:
    """A square around the largest upright frontal face of a picture uint8 [H, W, 3], with a margin; None: no face.

    The square is moved, then shrunk, to lie within the picture. Raises JobError where no detector is installed.
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
    # the largest; of equal ones the first from the top left, for the detector's order is its own affair
    x, y, w, h = max(np.asarray(faces).tolist(), key=lambda face: (face[2] * face[3], -face[1], -face[0]))
    edge = min(round(MARGIN * max(w, h) * shrink), height, width)
    top = round((y + h / 2) * shrink - edge / 2)
    left = round((x + w / 2) * shrink - edge / 2)
    return min(max(top, 0), height - edge), min(max(left, 0), width - edge), edge, edge


def _detector():
    """OpenCV's frontal-face cascade, one a thread. OpenCV 5 moved it, without its data, into another package."""
    if hasattr(_own, "detector"):
        return _own.detector
    check_detector()
    detector = cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE)
    if detector.empty():
        raise JobError(f"OpenCV {cv2.__version__} lacks {CASCADE}: pip install 'opencv-python-headless>=4.11,<5'")
    _own.detector = detector
    return detector


def check_detector() -> None:
    """Raise JobError where the installed OpenCV has no face detector."""
    if not hasattr(cv2, "CascadeClassifier"):
        raise JobError(
            f"--crop face needs the face detector of OpenCV 4, and {cv2.__version__} is installed: "
            "pip install 'opencv-python-headless>=4.11,<5'"
        )
