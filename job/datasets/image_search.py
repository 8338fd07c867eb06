"""Images found on disk, before they have a split: what the layouts of real data sets yield."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from job.system.errors import JobError

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
_MEN = {"male", "m", "man", "men", "males", "boy", "boys"}
_WOMEN = {"female", "f", "woman", "women", "females", "w", "girl", "girls"}
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val"}
_SPLITS |= {"test": "test", "testing": "test"}

Place = str | tuple[str, int, int] | tuple[str, int, int, str]  # a file, or a part of one: offset, bytes, kind


class Found(NamedTuple):
    """An image as a data set describes it; `domain` and `emotion` (or any other class) in the data set's own words.

    `origin` is its path below the root, for people to read; `place` is what `fetch` needs. `emotion`, `subject` and
    `split` are None where the data set says nothing of them.
    """

    origin: str
    place: Place
    domain: str | None
    emotion: str | None
    subject: str | None = None
    split: str | None = None


@dataclass
class Notes:
    """What a search left out: files that cannot be read, with the reason, and how many of what was not wanted."""

    strict: bool = False
    skipped: list[tuple[str, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def skip(self, origin: str, reason: str) -> None:
        self.skipped.append((origin, reason))

    def leave_out(self, what: str, origin: str) -> None:
        """Count an image that is not wanted. Raises JobError where the user wants none left out in silence."""
        if self.strict:
            raise JobError(f"{origin}: {what}: remove or rename it, or leave out --strict")
        self.left_out[what] += 1


def simple(name: object) -> str:
    """A name without case, spaces and punctuation, by which names are compared."""
    return "".join(filter(str.isalnum, str(name))).casefold()


def same_domain(name: str | None, wanted: str | None) -> bool:
    """Whether a data set's word for a domain is the one asked for: the same name, or both mean men, or women."""
    if name is None or wanted is None:
        return False
    one, other = simple(name), simple(wanted)
    return one == other or any(one in words and other in words for words in (_MEN, _WOMEN))


def split_of(name: str) -> str | None:
    """train, val or test by any of their usual names, else None."""
    return _SPLITS.get(simple(name))


def printable(path: str) -> str:
    """A path as text that can be written anywhere, whatever bytes the file system holds."""
    if path.isascii() and "\\" not in path:
        return path
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\\", "/")


def walk(root: str | Path, notes: Notes, endings: tuple[str, ...] = ENDINGS) -> Iterator[tuple[str, str]]:
    """Every plain file with such an ending, in any case, below `root`: (path, path below the root), in a fixed order.

    Links to folders are followed, each folder is entered once, so that no loop of links is endless. What cannot be
    looked at is noted as skipped. Raises JobError when the root itself cannot be.
    """
    root = str(root)
    entered = set()
    stack = [""]
    while stack:
        below = stack.pop()
        folder = os.path.join(root, below) if below else root
        try:
            about = os.stat(folder)
            if (about.st_dev, about.st_ino) in entered:
                continue
            entered.add((about.st_dev, about.st_ino))
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not below:
                raise JobError(f"cannot list {folder} ({error.strerror}): check --root and its permissions") from None
            notes.skip(printable(below), f"folder: {error.strerror}")
            continue
        folders = []
        for entry in listed:
            name = entry.name
            path = f"{below}/{name}" if below else name
            try:
                if entry.is_dir():
                    folders.append(path)
                elif name.lower().endswith(endings) and not name.startswith("._"):
                    # "._x.jpg" is what macOS leaves beside x.jpg on foreign disks
                    if entry.is_file():
                        yield entry.path, printable(path)
                    else:
                        notes.skip(printable(path), "a broken link" if entry.is_symlink() else "not a plain file")
            except OSError as error:
                notes.skip(printable(path), error.strerror)
        stack += reversed(folders)
