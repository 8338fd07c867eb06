"""Measure how well detectors find and align faces: synthetic faces, tilted and shifted in larger photos.

For each tilt: the share of the faces that are found, and how far the true eyes lie from their mean place in the crop
(root mean square, % of the crop's edge), and from level (root mean square, degrees). Of a perfectly aligned crop both
are 0. The cascade needs nothing; with --face-model, YuNet is measured too, and with --mtcnn another detector of the
same landmarks, aligned by the same code: `pip install --no-deps facenet-pytorch` (MIT licence, weights included).
"""

import math

import cv2
import numpy as np
from PIL import Image

from benchmarks.common import arguments, machine, print_table, write_result
from job.datasets import synthetic_faces
from job.datasets.layout import Record
from job.shards.alignment import Alignment
from job.shards.writing.crop import crop_settings, similarity
from job.shards.writing.face_detector import Cascade, Detector, Face, detector

TILTS = (0, 10, 20, 30, 45)  # degrees, to both sides
CANVAS, FACE, SIZE = (480, 640), 200, 96  # px of the photo, of the drawn image with the face, and of the crop
NEAR = 0.25  # of FACE: a box whose middle is as near to that of the drawn image has found the face


def main() -> None:
    parser = arguments((__doc__ or "").splitlines()[0], "face_alignment")
    parser.add_argument("--face-model", help="yunet, or the path of its ONNX file")
    parser.add_argument("--mtcnn", action="store_true", help="Measure MTCNN of facenet-pytorch too.")
    parser.add_argument("--faces", type=int, default=200)
    options, where = parser.parse_args(), machine()
    detectors: dict[str, tuple[Detector, Alignment | None]] = {"cascade": (Cascade(), None)}
    if options.face_model:
        _, alignment, model = crop_settings("face", options.face_model)
        detectors["yunet"] = detector(model, alignment), alignment
    if options.mtcnn:
        detectors["mtcnn"] = Mtcnn(), Alignment(sha256="0" * 64)
    count = options.faces // 2
    records = synthetic_faces.records(None, 7, train=count, val=1, test=1)
    records = [record for record in records if record.split == "train"]
    rows = [
        {"detector": name, "tilt": tilt, **measure(records, tilt, *chosen)}
        for name, chosen in detectors.items()
        for tilt in TILTS
    ]
    print_table([list(rows[0]), *(list(row.values()) for row in rows)])
    result = {"faces": len(records), "canvas_px": CANVAS, "face_px": FACE, "rows": rows}
    write_result(options.out, "face_alignment", result, where)


class Mtcnn:
    """Zhang et al. 2016, "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks"."""

    def __init__(self) -> None:
        from facenet_pytorch import MTCNN

        self._network = MTCNN(keep_all=True, min_face_size=40)

    def faces(self, image: np.ndarray) -> list[Face]:
        """Return the faces of an image uint8 [H, W, 3] with a score above 0.9, the largest first."""
        boxes, scores, points = self._network.detect(Image.fromarray(image), landmarks=True)
        found = [] if boxes is None else zip(boxes.tolist(), scores.tolist(), points.tolist())
        faces = [
            Face(left, top, right - left, bottom - top, tuple(map(tuple, marks)), score)
            for (left, top, right, bottom), score, marks in found
            if score > 0.9
        ]
        return sorted(faces, key=lambda face: -face.width * face.height)

    def reason(self) -> str:
        return "no face"


def measure(records: list[Record], tilt: int, finder: Detector, alignment: Alignment | None) -> dict[str, float]:
    """Return what was measured over all records at a tilt to one side or the other."""
    places, angles, found = [], [], 0
    for number, record in enumerate(records):
        rng = np.random.default_rng(number)
        image, eyes, middle = photo(record, tilt if number % 2 else -tilt, rng)
        face = next(iter(finder.faces(image)), None)
        if face is None:
            continue
        centre = face.left + face.width / 2, face.top + face.height / 2
        if math.dist(centre, middle) > NEAR * FACE:
            continue
        found += 1
        if alignment is not None:
            matrix, edge, _ = similarity(face.points, SIZE, alignment)
            seen = (eyes @ matrix[:, :2].T + matrix[:, 2]) / edge
        else:
            assert face.square is not None
            seen = (eyes - (face.square[1], face.square[0])) / face.square[2]
        places.append(seen)
        across = seen[1] - seen[0]
        angles.append(math.degrees(math.atan2(across[1], across[0])))
    spread = np.array(places) - np.mean(places, axis=0) if places else np.full((1, 2, 2), np.nan)
    return {
        "found": found / len(records),
        "eyes_off_percent": 100 * float(np.sqrt((spread**2).sum(2).mean())),
        "eyes_off_level_degrees": float(np.sqrt(np.mean(np.square(angles)))) if angles else math.nan,
    }


def photo(record: Record, tilt: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Return a photo with a tilted face at a random place, its eyes [2, 2] and the middle of its image, in px."""
    height, width = CANVAS
    drawn, eyes = synthetic_faces.read(record, FACE), synthetic_faces.eyes(record, FACE)
    x, y = (float(rng.uniform(0.75 * FACE, edge - 0.75 * FACE)) for edge in (width, height))
    matrix = cv2.getRotationMatrix2D((FACE / 2, FACE / 2), tilt, 1.0)
    matrix[:, 2] += (x - FACE / 2, y - FACE / 2)
    image = cv2.GaussianBlur(rng.integers(60, 120, (height, width, 3), np.uint8), (0, 0), 3)
    inside = cv2.warpAffine(np.full((FACE, FACE), 255, np.uint8), matrix, (width, height)) > 127
    image[inside] = cv2.warpAffine(drawn, matrix, (width, height))[inside]
    return image, eyes @ matrix[:, :2].T + matrix[:, 2], (x, y)


if __name__ == "__main__":
    main()
