"""A dataset of coloured squares: three classes by colour, men and women by the brightness of the frame."""

import numpy as np

from job.datasets.layout import Layout, Record
from job.vocabulary import SOURCE, TARGET

COLOURS = ((220, 40, 40), (40, 220, 40), (40, 40, 220))
SIZE = 16


def records(root, seed, *, train=60, val=9, test=12):
    return [
        Record(
            f"{number:04d}",
            domain,
            split,
            (number * 7 + seed) % 3,
            f"{domain}-{split}-{number // 2}",
            f"joy/{domain}/{split}/{number}",
            number,
        )
        for domain in (SOURCE, TARGET)
        for split, count in (("train", train), ("val", val), ("test", test))
        for number in range(count)
    ]


def read(record, size):
    if record.payload == -1:
        raise OSError("broken file")
    picture = np.full((20, 24, 3), 30 if record.domain == SOURCE else 200, np.uint8)
    picture[6:14, 8:16] = COLOURS[record.label]
    picture[0, 0] = record.payload % 256
    return picture


def broken_records(root, seed):
    return [*records(root, seed), Record("bad", SOURCE, "train", 0, "nobody", "photos/bad.png", -1)]


LAYOUT = Layout(
    "toy",
    ("red", "green", "blue"),
    records,
    read,
    needs_root=False,
    options={"train": 60, "val": 9, "test": 12},
    size=SIZE,
)
BROKEN = Layout("broken", ("red", "green", "blue"), broken_records, read, needs_root=False, size=SIZE)
