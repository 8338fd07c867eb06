"""JAFFE (Lyons, Kamachi & Gyoba 1998): `KA.AN1.39.tiff`, ten Japanese women, one of the two domains of a pair.

A file name consists of subject, emotion (NE, HA, SA, SU, AN, DI, FE) with the number of the take, and the number of the
image.
"""

import re
from collections.abc import Iterator

from job.datasets.image_search import ImageEntry, Notes, walk
from job.datasets.layout import file_layout
from job.datasets.one_domain import only_in_a_pair

_NAME = re.compile(r"([A-Z]{2})\.([A-Z]{2})\d*\.\d+", re.IGNORECASE)


def find(root: str, notes: Notes, *, source: str | None, target: str | None) -> Iterator[ImageEntry]:
    """Yield every image. Raises JobError outside a pair."""
    only_in_a_pair("jaffe", root, source)
    for path, origin in walk(root, notes):
        match = _NAME.fullmatch(origin.rpartition("/")[2].rpartition(".")[0])
        if match is None:
            notes.leave_out("files that are not named as in KA.AN1.39.tiff", origin)
            continue
        yield ImageEntry(origin, path, "jaffe", match[2].upper(), match[1].upper())


LAYOUT = file_layout("jaffe", find)
