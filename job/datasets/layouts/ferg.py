"""FERG-DB (Aneja et al. 2016): rendered characters, `ray/ray_joy/ray_joy_1.png`.

Three are men (ray, malcolm, jules), three women (bonnie, mery, aia). A character is a subject, so that splits which
are disjoint by subject have one character each for val and test; `--option subjects=false` splits by image instead.
"""

import re
from collections.abc import Iterator

from job.datasets.image_search import ImageEntry, Notes, walk
from job.datasets.layout import file_layout

GENDERS = {"ray": "male", "malcolm": "male", "jules": "male", "bonnie": "female", "mery": "female", "aia": "female"}
_FOLDER = re.compile(rf"({'|'.join(GENDERS)})[_ ]([a-z]+)", re.IGNORECASE)


def find(root: str, notes: Notes, *, source: str | None, target: str | None) -> Iterator[ImageEntry]:
    """Yield every image below a folder `<name>_<emotion>`."""
    for path, origin in walk(root, notes):
        match = next(filter(None, map(_FOLDER.fullmatch, reversed(origin.split("/")[:-1]))), None)
        if match is None:
            notes.leave_out("files below no folder such as ray_joy", origin)
            continue
        name = match[1].lower()
        yield ImageEntry(origin, path, GENDERS[name], match[2], name)


LAYOUT = file_layout("ferg", find)
