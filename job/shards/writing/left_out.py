"""Small lists beside the shards, for people: what was skipped, what is double, where no face was found."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from job.system.files import write_atomically, writing

MAKE_ROOM = "make room or check the permissions, then run the same command again"
SKIPPED, COPIES, NO_FACE = "skipped.csv", "duplicates.csv", "no_face.csv"


def write_csv(path: Path, heads: Sequence[str], rows: Iterable[Sequence]) -> None:
    """A small CSV file, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(rows)
    write_beside(path, text.getvalue())


def write_beside(path: Path, text: str) -> None:
    """A file beside the shards, whole or not at all. Raises JobError, which says so, where the disk is full."""
    with writing(path, f"{MAKE_ROOM}; finished shards are kept"):
        write_atomically(path, text, durable=True)
