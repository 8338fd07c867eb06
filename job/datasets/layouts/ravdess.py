"""RAVDESS (Livingstone & Russo 2018): frames of its videos, named after the video: `02-01-06-01-02-01-12.jpg`.

A video's name consists of seven numbers: modality, speech or song, emotion (01 neutral, calm, happy, sad, angry,
fearful, disgust, 08 surprised), intensity, statement, repetition and actor (01 to 24, odd numbers are men). Frames
have it in their own name (`02-01-06-01-02-01-12_f007.jpg`) or in that of a folder. Calm counts as neutral, as in other
layouts, unless `--option calm=none` leaves it out. An actor is a subject.
"""

import re
from collections.abc import Iterator

from job.datasets.classes import name_of
from job.datasets.image_search import ImageEntry, Notes, walk
from job.datasets.layout import file_layout
from job.system.errors import JobError

_VIDEO = re.compile(r"(?<![\d-])0[1-3]-0[12]-(0[1-8])-0[12]-0[12]-0[12]-(\d\d)(?![\d])")


def find(root: str, notes: Notes, *, source: str | None, target: str | None, calm: str) -> Iterator[ImageEntry]:
    """Yield every frame."""
    if calm not in ("neutral", "none"):
        raise JobError(f"--option calm={calm}: expected neutral or none")
    for path, origin in walk(root, notes, expected=(".mp4", ".wav", ".csv")):
        match = next(filter(None, map(_VIDEO.search, reversed(origin.split("/")))), None)
        if match is None:
            notes.leave_out("files that are not named as in 02-01-06-01-02-01-12.jpg", origin)
            continue
        emotion = name_of("ravdess", int(match[1]))
        if emotion == "calm" and calm == "none":
            notes.left_out["calm faces"] += 1
            continue
        yield ImageEntry(origin, path, "male" if int(match[2]) % 2 else "female", emotion, match[2])


LAYOUT = file_layout("ravdess", find, calm="neutral")
