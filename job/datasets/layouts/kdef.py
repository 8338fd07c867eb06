"""Karolinska Directed Emotional Faces (Lundqvist, Flykt & Öhman 1998): `AF01ANS.JPG`.

A file name consists of session (A, B), gender (F, M), subject (01 to 35), emotion (AF afraid, AN, DI, HA, NE, SA, SU)
and angle (FL, HL, S, HR, FR: full left, half left, straight, half right, full right). The files may be in one folder,
in subject folders as distributed, or in any other folders.
"""

import re
from collections.abc import Iterator

from job.datasets.image_search import ImageEntry, Notes, walk
from job.datasets.layout import file_layout
from job.system.errors import JobError

_NAME = re.compile(r"([AB])([FM])(\d\d)(AF|AN|DI|HA|NE|SA|SU)(FL|HL|S|HR|FR)", re.IGNORECASE)
_ANGLES = ("FL", "HL", "S", "HR", "FR")


def find(root: str, notes: Notes, *, source: str | None, target: str | None, angles: str) -> Iterator[ImageEntry]:
    """Yield the photos from the `angles` ("S", "HL,S,HR" or "all"). Both sessions of a person are one subject."""
    wanted = set(_ANGLES) if angles.lower() == "all" else {angle.strip().upper() for angle in angles.split(",")}
    if not wanted <= set(_ANGLES):
        raise JobError(f"--option angles={angles}: expected some of {','.join(_ANGLES)}, or all")
    for path, origin in walk(root, notes):
        match = _NAME.fullmatch(origin.rpartition("/")[2].rpartition(".")[0].strip())
        if match is None:
            notes.leave_out("files that are not named as in AF01ANS.JPG", origin)
            continue
        _, gender, number, emotion, angle = (part.upper() for part in match.groups())
        if angle not in wanted:
            notes.left_out["photos from another angle"] += 1
            continue
        yield ImageEntry(origin, path, gender, emotion, gender + number)


LAYOUT = file_layout("kdef", find, angles="S")
