"""Shards of synthetic textures, with the detail and size in bytes of small photos of faces: quick to make, any size."""

from pathlib import Path

import cv2
import numpy as np

from job.datasets.layout import Layout, Record
from job.shards.manifest import Manifest
from job.shards.writing.write_shards import write_shards
from job.vocabulary import SOURCE, TARGET


def textured(record: Record, size: int) -> np.ndarray:
    """Return an image with the detail and size in bytes of a small photo of a face: shades, edges, a little grain."""
    rng = np.random.default_rng(record.payload)
    shades = cv2.resize(rng.integers(40, 215, (5, 5, 3), np.uint8), (size, size), interpolation=cv2.INTER_CUBIC)
    edges = cv2.resize(rng.uniform(-40, 40, (12, 12)), (size, size), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 3, (size, size, 1))
    return np.clip(shades + edges[:, :, None] + grain, 0, 255).astype(np.uint8)


def write_textures(out: Path, size: int, images: int, shards: int) -> Manifest:
    """Write shards of both domains with `images` training images each and 4 in the other splits, in 7 classes."""

    def records(root, seed) -> list[Record]:
        listed = []
        for place, domain in enumerate((SOURCE, TARGET)):
            for part, (split, count) in enumerate((("train", images), ("test", 4), ("val", 4))):
                for i in range(count):
                    key = f"{split}-{i}"
                    listed.append(Record(key, domain, split, i % 7, key, key, (place, part, i)))
        return listed

    layout = Layout("textures", tuple("abcdefg"), records, textured, needs_root=False, size=size)
    return write_shards(layout, None, out, shards=shards, workers=1, progress=False)
