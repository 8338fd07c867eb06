"""What became of the images that are not in the shards, told to the user and listed beside the shards."""

import sys
from pathlib import Path

from job.shards.writing.left_out import COPIES, NO_FACE, SKIPPED, write_csv
from job.shards.writing.select_images import Gathered
from job.shards.writing.skip_budget import Budget


def write_lists(out: Path, gathered: Gathered, budget: Budget, crop: str) -> None:
    """Beside the shards: what was skipped, which images are equal, in which no face was found."""
    budget.write()
    copies = [
        (number, record.origin, record.domain, record.split)
        for number, group in enumerate(gathered.copies, 1)
        for record in group
    ]
    write_csv(out / COPIES, ("group", "path", "domain", "split"), copies)
    if crop == "face":
        write_csv(out / NO_FACE, ("path",), [(origin,) for origin in sorted(gathered.no_face)])


def tell(out: Path, gathered: Gathered, budget: Budget) -> None:
    """What the user should know, on stderr."""
    told = [f"left out: {count} {what}" for what, count in gathered.left_out.items()]
    if budget.skipped:
        told.append(f"skipped: {len(budget.skipped)} unreadable images, listed in {out / SKIPPED}")
    if gathered.copies:
        images = sum(map(len, gathered.copies))
        different = len(gathered.copies)
        told.append(f"exact duplicates: {images} images, {different} different ones, listed in {out / COPIES}")
    conflicts = sum(len({record.label for record in group}) > 1 for group in gathered.copies)
    if conflicts:
        told.append(f"{conflicts} of the different ones lie under more than one emotion")
    if gathered.no_face:
        told.append(f"no face found in {len(gathered.no_face)} images, listed in {out / NO_FACE}")
    for line in told:
        print(line, file=sys.stderr)
