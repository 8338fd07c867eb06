"""Radboud Faces Database (Langner et al. 2010): `Rafd090_01_Caucasian_female_angry_frontal.jpg`.

A file name consists of the camera's angle (090 is frontal), the model's number, group, gender, emotion and gaze. The
same model is one subject. Contempt is left out.
"""

import re
from collections.abc import Iterator

from job.datasets.image_search import ImageEntry, Notes, walk
from job.datasets.layout import file_layout
from job.system.errors import JobError

_NAME = re.compile(
    r"Rafd(\d{3})_(\d+)_([a-z]+)_(male|female|man|woman|boy|girl)_([a-z]+)_(frontal|left|right)", re.IGNORECASE
)
_ANGLES, _GAZES = ("000", "045", "090", "135", "180"), ("frontal", "left", "right")


def find(
    root: str, notes: Notes, *, source: str | None, target: str | None, angles: str, gazes: str
) -> Iterator[ImageEntry]:
    """Yield the photos from the `angles` ("090", "045,090,135" or "all") with the `gazes` ("frontal" or "all")."""
    from_angles, with_gazes = _chosen("angles", angles, _ANGLES), _chosen("gazes", gazes, _GAZES)
    for path, origin in walk(root, notes):
        match = _NAME.fullmatch(origin.rpartition("/")[2].rpartition(".")[0])
        if match is None:
            notes.leave_out("files that are not named as in Rafd090_01_Caucasian_female_angry_frontal.jpg", origin)
        elif match[1] not in from_angles:
            notes.left_out["photos from another angle"] += 1
        elif match[6].lower() not in with_gazes:
            notes.left_out["photos with another gaze"] += 1
        else:
            yield ImageEntry(origin, path, match[4].lower(), match[5].lower(), match[2])


def _chosen(option: str, text: str, known: tuple[str, ...]) -> set[str]:
    chosen = set(known) if text.lower() == "all" else {word.strip().lower() for word in text.split(",")}
    if not chosen <= set(known):
        raise JobError(f"--option {option}={text}: expected some of {','.join(known)}, or all")
    return chosen


LAYOUT = file_layout("rafd", find, angles="090", gazes="all")
