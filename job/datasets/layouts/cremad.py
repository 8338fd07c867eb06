"""CREMA-D (Cao et al. 2014): frames of its clips, named after the clip: `1001_DFA_ANG_XX.jpg`, `1001_DFA_ANG_XX/7.jpg`.

A clip's name consists of actor, sentence, emotion (ANG, DIS, FEA, HAP, NEU, SAD) and level (LO, MD, HI, XX); frames
have it in their own name or in that of a folder. The sex of the actors is in `VideoDemographics.csv`, anywhere below
the root. There is no surprise. An actor is a subject.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from job.datasets.image_search import ImageEntry, Notes, walk
from job.datasets.layout import file_layout
from job.datasets.read_table import read_table
from job.system.errors import JobError

_CLIP = re.compile(r"(?<!\d)(1\d{3})_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX?)(?![A-Z])", re.IGNORECASE)
_EMOTIONS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "joy", "NEU": "neutral", "SAD": "sadness"}
_ACTORS = "VideoDemographics.csv"


def find(root: str, notes: Notes, *, source: str | None, target: str | None) -> Iterator[ImageEntry]:
    """Yield every frame. Raises JobError when the sex of the actors is needed and missing."""
    table = next((path for path, _ in walk(root, Notes(), (_ACTORS.lower(),))), None)
    if table is None and source is not None:
        raise JobError(
            f"layout cremad needs {_ACTORS}, and {root} has none: copy it from CREMA-D, or give --option gender=FILE"
        )
    sexes = {row["actorid"]: row["sex"] for _, row in read_table(Path(table), ("ActorID", "Sex"))} if table else {}
    for path, origin in walk(root, notes, expected=(".csv", ".flv", ".mp4", ".wav", ".mp3")):
        match = next(filter(None, map(_CLIP.search, reversed(origin.split("/")))), None)
        if match is None:
            notes.leave_out("files that are not named as in 1001_DFA_ANG_XX.jpg", origin)
            continue
        yield ImageEntry(origin, path, sexes.get(match[1]), _EMOTIONS[match[3].upper()], match[1])


LAYOUT = file_layout("cremad", find)
