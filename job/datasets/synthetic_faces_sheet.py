"""Draw the contact sheet of docs/faces.md: python -m job.datasets.synthetic_faces_sheet docs/faces.jpg"""

import sys

import cv2
import numpy as np

from job.datasets.synthetic_faces import read, records
from job.vocabulary import DOMAINS, EMOTIONS


def contact_sheet(people: int = 4, size: int = 96, seed: int = 0) -> np.ndarray:
    """Return uint8 RGB [7 size, 2 people size + size / 8, 3]: rows are emotions, columns people, women on the right."""
    listed = records(None, seed, train=40 * 25, val=1, test=1)
    gap = np.full((len(EMOTIONS) * size, size // 8, 3), 255, np.uint8)
    halves = []
    for domain in DOMAINS:
        columns = []
        for person in dict.fromkeys(r.subject for r in listed if r.domain == domain):
            shown = {r.label: r for r in listed if r.subject == person}
            if len(shown) == len(EMOTIONS) and len(columns) < people:
                columns.append(np.concatenate([read(shown[label], size) for label in range(len(EMOTIONS))]))
        halves.append(np.concatenate(columns, axis=1))
    return np.concatenate([halves[0], gap, halves[1]], axis=1)


if __name__ == "__main__":
    cv2.imwrite(sys.argv[1], contact_sheet()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
