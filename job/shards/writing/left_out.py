"""Count, list and report images that are not in the shards, and fail when too many are unreadable.

Lists: `skipped.csv` (path, reason), `duplicates.csv` (equal files) and `no_face.csv` (path, reason).
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from job.shards.class_shares import misspelt_kinds
from job.system.echo import echo
from job.system.errors import JobError
from job.system.files import write_atomically, writing
from job.system.text import csv_row

if TYPE_CHECKING:  # a cycle: it imports this module through convert
    from job.shards.writing.select_images import RecordSet

MAKE_ROOM = "make room or check the permissions, then run the same command again"
SKIPPED, COPIES, NO_FACE = "skipped.csv", "duplicates.csv", "no_face.csv"
_MAX_LINES = 12  # kinds of dropped images that get a line of their own


class Budget:
    """Count unreadable images, list them in `skipped.csv`, fail past `most`: a share such as "1%", or a number."""

    def __init__(self, most: str, out: Path) -> None:
        """Parse `most`. Raises JobError unless it is a share in [0 %, 100 %] or a whole number from 0."""
        self._text, self._out = most, out
        self._share, self._number = _parse(most)
        self.skipped: list[tuple[str, str]] = []

    def spend(self, total: int, skipped: Iterable[tuple[str, str]]) -> None:
        """Add unreadable images, (path, reason). Raises JobError when they are too many of `total`."""
        self.skipped += skipped
        allowed = self._number if self._share is None else self._share * total
        if len(self.skipped) > allowed:
            self.write()
            path, reason = min(self.skipped)
            raise JobError(
                f"{len(self.skipped)} of {total} images cannot be read, more than --max-skipped {self._text}: "
                f"{path} ({reason}); {self._out / SKIPPED} lists them: repair or remove them, or allow more"
            )

    def write(self) -> None:
        """Write `skipped.csv`, sorted by path."""
        write_csv(self._out / SKIPPED, ("path", "reason"), sorted(self.skipped))


def write_lists(out: Path, record_set: "RecordSet", budget: Budget, crop: str) -> None:
    """Write the lists beside the shards. Raises JobError when they cannot be written."""
    budget.write()
    copies = [
        (number, record.origin, record.domain, record.split)
        for number, group in enumerate(record_set.copies, 1)
        for record in group
    ]
    write_csv(out / COPIES, ("group", "path", "domain", "split"), copies)
    if crop == "face":
        write_csv(out / NO_FACE, ("path", "reason"), sorted(record_set.no_face))


def report(out: Path, record_set: "RecordSet", budget: Budget) -> None:
    """Print which images are not in the shards on stderr."""
    left_out = record_set.left_out
    hints = misspelt_kinds(left_out, record_set.class_names)
    lines = [f"warning: left out: {left_out[what]} {what}: {hint}" for what, hint in hints.items()]
    lines += [f"left out: {line}" for line in count_lines({w: n for w, n in left_out.items() if w not in hints})]
    if budget.skipped:
        lines.append(f"skipped: {len(budget.skipped)} unreadable images, listed in {out / SKIPPED}")
    if record_set.copies:
        images = sum(map(len, record_set.copies))
        different = len(record_set.copies)
        lines.append(f"exact duplicates: {images} images with {different} different contents, listed in {out / COPIES}")
    conflicts = sum(len({record.label for record in group}) > 1 for group in record_set.copies)
    if conflicts:
        lines.append(f"{conflicts} of the different contents have more than one label")
    if record_set.no_face:
        lines.append(_without_face(out, record_set))
    for line in lines:
        echo(line, err=True)


def _without_face(out: Path, record_set: "RecordSet") -> str:
    """Describe the images without a face: a warning when they are half of all or more."""
    dropped = record_set.left_out.get("images without a face", 0)
    found, total = len(record_set.no_face), len(record_set.records) + dropped
    fate = "they are left out" if dropped else "their central squares are kept"
    listed = f"listed in {out / NO_FACE}: {fate}"
    if 2 * found < total:
        return f"no face found in {found} images, {listed}"
    return f"warning: no face found in {found} of {total} images, {listed}; look at some, or use --crop center"


def count_lines(left_out: dict[str, int]) -> list[str]:
    """Return lines such as `5 emotion contempt`, the most frequent kind first; many rare kinds share the last line."""
    ranked = sorted(left_out.items(), key=lambda entry: (-entry[1], entry[0]))
    lines = [f"{count} {what}" for what, count in ranked[:_MAX_LINES]]
    rest = ranked[_MAX_LINES:]
    if rest:
        lines.append(f"{sum(count for _, count in rest)} of {len(rest)} other kinds, such as {rest[0][0]}")
    return lines


def write_csv(path: Path, heads: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a small CSV file atomically. Raises JobError when it cannot be written."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(map(csv_row, [heads, *rows]))
    write_beside(path, text.getvalue())


def write_beside(path: Path, text: str) -> None:
    """Write a file beside the shards atomically. Raises JobError when it cannot be written."""
    with writing(path, f"{MAKE_ROOM}; finished shards are kept"):
        write_atomically(path, text, durable=True)


def _parse(text: str) -> tuple[float | None, int]:
    """Parse a share, returned in [0, 1], or a number, returned after None. Raises JobError for anything else."""
    number = text.strip().removesuffix("%")
    try:
        if text.strip().endswith("%"):
            share = float(number) / 100
            if 0 <= share <= 1:
                return share, 0
        elif int(number) >= 0:
            return None, int(number)
    except ValueError:
        pass
    raise JobError(f"--max-skipped {text!r} is neither a share such as 1% nor a number of images such as 20")
