"""Small lists beside the shards, for people: what was skipped, what is double, where no face was found."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from job.files import write_atomically

SKIPPED, COPIES, NO_FACE = "skipped.csv", "duplicates.csv", "no_face.csv"


def write_csv(path: Path, heads: Sequence[str], rows: Iterable[Sequence]) -> None:
    """A small CSV file, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(rows)
    write_atomically(path, text.getvalue(), durable=True)
