"""FER2013 (Goodfellow et al. 2013): fer2013.csv (or icml_face_data.csv), or class folders.

The data set has no genders: `--option gender=FILE` is a table with the columns image (the
row of fer2013.csv counted from 0, FER+'s name such as fer0000012.png, or the path below the root) and gender.
`--option ferplus=fer2013new.csv` takes the labels from FER+ (Barsoum et al. 2016): the one with most of the ten votes.
The public test set becomes val, the private one test; subjects are not known.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from job.datasets.classes import name_of
from job.datasets.folders import read_folders
from job.datasets.gender import Genders
from job.datasets.image_bytes import PIXELS
from job.datasets.image_search import ImageEntry, Notes, walk
from job.datasets.layout import file_layout
from job.datasets.read_table import option_path, read_table
from job.datasets.split_names import read_split
from job.system.errors import JobError

_TABLES = ("fer2013.csv", "icml_face_data.csv")
_NAME = re.compile(r"fer([0-9]{1,9})")  # the names that the program of FER+ writes
_VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")


def find(
    root: str, notes: Notes, *, source: str | None, target: str | None, gender: str | None, ferplus: str | None
) -> Iterator[ImageEntry]:
    """Yield every image. Those whose FER+ votes are tied, or for contempt, unknown or no face, are dropped later."""
    genders = Genders(root, gender)
    if source is not None and not genders:
        raise JobError(
            "layout fer2013 needs the gender of each image: --option gender=FILE, "
            "a table with the columns image and gender"
        )
    table = next((path for path, _ in walk(root, Notes(), _TABLES)), None)
    votes = _read_votes(option_path(root, ferplus)) if ferplus else None
    if table is None:
        yield from _class_folders(root, notes, genders, votes)
        return
    for number, emotion, start, length, usage in _read_rows(Path(table)):
        name = f"fer{number:07d}.png"
        if votes is not None:
            emotion = votes[number] if number < len(votes) else "without votes"
        domain = genders.of(name, str(number))
        yield ImageEntry(name, (table, start, length, PIXELS), domain, emotion, None, usage)


def _read_rows(path: Path) -> Iterator[tuple[int, str | None, int, int, str | None]]:
    """Yield (number, emotion, offset and length of the pixels in bytes, split) for each row of the table."""
    with open(path, "rb") as file:
        names = [name.strip().lower() for name in file.readline().decode("utf-8-sig", "replace").split(",")]
        try:
            emotion, pixels = names.index("emotion"), names.index("pixels")
        except ValueError:
            raise JobError(f"{path} has no columns emotion and pixels: download fer2013.csv again") from None
        usage = names.index("usage") if "usage" in names else None
        start = file.tell()
        for number, line in enumerate(file):
            cells = line.rstrip(b"\r\n").split(b",")
            if len(cells) == len(names):
                # the cells before this one, and their commas
                offset = sum(len(cell) + 1 for cell in cells[:pixels])
                text = cells[pixels]
                offset, text = (offset + 1, text[1:-1]) if text[:1] == b'"' else (offset, text)
                word = None if usage is None else cells[usage].decode("ascii", "replace").strip(' "')
                split = read_split(word, f"{path}, line {number + 2}")
                code = cells[emotion].decode("ascii", "replace").strip(' "')
                yield number, name_of("fer2013", code) if code else None, start + offset, len(text), split
            elif line.strip():
                raise JobError(
                    f"{path}, line {number + 2} has {len(cells)} columns, not {len(names)}: download it again"
                )
            start += len(line)


def _read_votes(path: Path) -> list[str]:
    """Return the emotion with most votes of each row, in the order of fer2013.csv."""
    emotions = []
    for number, row in read_table(path, ("Usage", *_VOTES)):
        try:
            counts = [int(row[name.lower()]) for name in _VOTES]
        except ValueError:
            raise JobError(f"{path}, row {number}: the votes are not numbers: download fer2013new.csv again") from None
        best = max(counts)
        emotions.append(_VOTES[counts.index(best)] if counts.count(best) == 1 and best else "with tied votes")
    return emotions


def _class_folders(root: str, notes: Notes, genders: Genders, votes: list[str] | None) -> Iterator[ImageEntry]:
    for path, origin in walk(root, notes, expected=(".csv",)):
        *folders, name = origin.split("/")
        _, emotion, split = read_folders(folders)
        stem = name.rpartition(".")[0]
        match = _NAME.fullmatch(stem)
        number = int(match[1]) if match else None
        if votes is not None:
            if number is None:
                raise JobError(f"{origin}: FER+ labels need fer2013.csv, or files with names such as fer0000012.png")
            emotion = votes[number] if number < len(votes) else "without votes"
        domain = genders.of(origin, *(() if number is None else (str(number), f"fer{number:07d}.png")))
        yield ImageEntry(origin, path, domain, emotion, None, split)


LAYOUT = file_layout("fer2013", find, size=48, gender=None, ferplus=None)
