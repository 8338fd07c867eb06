"""Extended Cohn-Kanade (Lucey et al. 2010), one of the two domains of a pair: as distributed, or as class folders.

As distributed, `cohn-kanade-images/S005/001/S005_001_00000011.png` is a frame of a sequence from neutral to the peak of
an emotion, and `Emotion/S005/001/S005_001_00000011_emotion.txt` contains the emotion, 0 to 7, of some sequences. Class
folders (`anger/S010_004_00000017.png`) contain selected frames.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from job.datasets.classes import name_of
from job.datasets.image_search import ImageEntry, Notes, walk
from job.datasets.layout import file_layout
from job.datasets.one_domain import only_in_a_pair

_FRAME = re.compile(r"(S\d+)_(\d+)_(\d+)", re.IGNORECASE)
_EMOTION = "_emotion.txt"


def find(
    root: str, notes: Notes, *, source: str | None, target: str | None, peak: int, onset: int
) -> Iterator[ImageEntry]:
    """Yield the last `peak` frames of each labelled sequence and its first `onset` as neutral, or all class folders."""
    only_in_a_pair("ckplus", root, source)
    emotions = {}
    for path, origin in walk(root, Notes(), (_EMOTION,)):
        subject, sequence, _ = _parts(origin.lower().removesuffix(_EMOTION) + ".png") or ("", "", "")
        emotions[subject, sequence] = _read_emotion(path)
    sequences: dict[tuple[str, str], list[tuple[int, str, str]]] = {}
    for path, origin in walk(root, notes, expected=(".txt",)):
        parts = _parts(origin)
        if parts is None:
            notes.leave_out("files that are not named as in S005_001_00000011.png", origin)
        elif emotions:
            sequences.setdefault(parts[:2], []).append((parts[2], path, origin))
        else:
            folder = origin.split("/")[-2] if "/" in origin else "of no folder"
            yield ImageEntry(origin, path, "ckplus", folder, parts[0])
    for key, frames in sorted(sequences.items()):
        frames.sort()
        emotion = emotions.get(key)
        if emotion is None:
            notes.left_out["frames of sequences without an emotion"] += len(frames)
            continue
        first, last = frames[: min(onset, len(frames) - 1)], frames[max(len(frames) - peak, 0) :]
        last = [frame for frame in last if frame not in first]
        notes.left_out["frames between onset and peak"] += len(frames) - len(first) - len(last)
        for name, selected in (("neutral", first), (emotion, last)):
            for _, path, origin in selected:
                yield ImageEntry(origin, path, "ckplus", name, key[0])


def _parts(origin: str) -> tuple[str, str, int] | None:
    """Parse the name of a frame into subject, sequence and number; None for any other name."""
    match = _FRAME.fullmatch(origin.rpartition("/")[2].rpartition(".")[0])
    return (match[1].upper(), match[2], int(match[3])) if match else None


def _read_emotion(path: str) -> str | None:
    """Read an emotion file, such as `   3.0000000e+00`; return None when it contains no number."""
    try:
        return name_of("ckplus", int(float(Path(path).read_text(encoding="ascii"))))
    except (OSError, ValueError):
        return None


LAYOUT = file_layout("ckplus", find, peak=3, onset=1)
