"""Images found on disk, before they have a split: what the layouts of real data sets yield."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from job.datasets.file_kinds import (
    ENDINGS,
    SIGNATURE_BYTES,
    ending_of,
    is_image,
    is_tool_file,
    is_tool_folder,
    kind_of,
)
from job.system.errors import JobError

_MEN = {"male", "m", "man", "men", "males", "boy", "boys"}
_WOMEN = {"female", "f", "woman", "women", "females", "w", "girl", "girls"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # a new line in a name would make two lines of a message

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
    """A name without case, spaces and punctuation, by which names are compared; in one form of Unicode."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFC", str(name)))).casefold()


def same_domain(name: str | None, wanted: str | None) -> bool:
    """Whether a data set's word for a domain is the one asked for: the same name, or both mean men, or women."""
    if name is None or wanted is None:
        return False
    one, other = simple(name), simple(wanted)
    return one == other or any(one in words and other in words for words in (_MEN, _WOMEN))


def printable(path: str) -> str:
    """A path as text of one line that can be written anywhere, whatever bytes the file system holds."""
    if path.isascii() and path.isprintable() and "\\" not in path:
        return path
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\\", "/")
    return _CONTROL.sub(lambda match: f"/x{ord(match[0]):02x}", text)


def walk(
    root: str | Path, notes: Notes, endings: tuple[str, ...] = ENDINGS, expected: tuple[str, ...] = ()
) -> Iterator[tuple[str, str]]:
    """Every plain file with such an ending, in any case, below `root`: (path, path below the root), in a fixed order.

    In a search for images, files without an ending are looked into. Other files are counted by their ending, except
    those `expected` beside the images. Hidden folders and those of tools and file systems are not entered but counted:
    what lies there are thumbnails, deleted files and old copies. Links to folders are followed, each folder is entered
    once, so that no loop of links is endless. What cannot be looked at is noted as skipped. Raises JobError when the
    root itself cannot be.
    """
    root = str(root)
    entered = set()
    stack = [""]
    while stack:
        below = stack.pop()
        listed = _list_folder(root, below, entered, notes)
        folders = []
        for entry in listed:
            path = f"{below}/{entry.name}" if below else entry.name
            try:
                if entry.is_dir():
                    if is_tool_folder(entry.name):
                        notes.left_out[f"folder {printable(entry.name)} (hidden, or of a tool)"] += 1
                    else:
                        folders.append(path)
                elif _is_wanted(entry, endings, expected, notes):
                    if entry.is_file():
                        yield entry.path, printable(path)
                    else:
                        notes.skip(printable(path), "a broken link" if entry.is_symlink() else "not a plain file")
            except OSError as error:
                notes.skip(printable(path), error.strerror)
        stack += reversed(folders)


def _list_folder(root: str, below: str, entered: set[tuple[int, int]], notes: Notes) -> list[os.DirEntry]:
    """The entries of a folder by name; none where it was entered before or cannot be listed."""
    folder = os.path.join(root, below) if below else root
    try:
        about = os.stat(folder)
        if (about.st_dev, about.st_ino) in entered:
            return []
        entered.add((about.st_dev, about.st_ino))
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if not below:
            raise JobError(f"cannot list {folder} ({error.strerror}): check --root and its permissions") from None
        notes.skip(printable(below), f"folder: {error.strerror}")
        return []


def _is_wanted(entry: os.DirEntry, endings: tuple[str, ...], expected: tuple[str, ...], notes: Notes) -> bool:
    """Whether a file belongs to the search, by its name or content; others are counted."""
    name = entry.name
    if is_tool_file(name):
        notes.left_out["hidden files and files of tools"] += 1
        return False
    if name.lower().endswith(endings):
        return True
    if not ending_of(name) and endings is ENDINGS and _holds_image(entry):
        return True
    if not name.lower().endswith(expected or "/"):
        notes.left_out[kind_of(printable(name))] += 1
    return False


def _holds_image(entry: os.DirEntry) -> bool:
    """Whether a file without an ending begins as an image. Raises OSError when it cannot be read."""
    if not entry.is_file():
        return entry.is_symlink()  # a broken link, to be noted
    with open(entry.path, "rb") as file:
        return is_image(file.read(SIGNATURE_BYTES))
