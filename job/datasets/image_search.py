"""Search folders for images; the entries that layouts of files yield, and notes of what they drop."""

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
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # a line break in a name would split a message into two lines


class FaceBox(NamedTuple):
    """A rectangle of an image file, in px of the file as stored: what is cropped before everything else."""

    path: str
    left: int
    top: int
    right: int
    bottom: int


class ParquetImage(NamedTuple):
    """The image in a row of a parquet file."""

    path: str
    column: str
    row: int


# A file, or a part of one: path, offset, bytes, kind
Location = str | tuple[str, int, int] | tuple[str, int, int, str] | FaceBox | ParquetImage


class ImageEntry(NamedTuple):
    """An image as a data set describes it; `domain` and `emotion` (or any other class) in the data set's own words.

    `origin` is the path below the root, for messages; `location` is the argument of `fetch`. `domain`, `emotion`,
    `subject` and `split` are None where the data set does not state them.
    """

    origin: str
    location: Location
    domain: str | None
    emotion: str | None
    subject: str | None = None
    split: str | None = None


@dataclass
class Notes:
    """What a search dropped: unreadable files with the reason, and counts of unwanted files by kind."""

    strict: bool = False
    skipped: list[tuple[str, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def skip(self, origin: str, reason: str) -> None:
        """Note an unreadable file."""
        self.skipped.append((origin, reason))

    def leave_out(self, what: str, origin: str) -> None:
        """Count an image that is dropped. Raises JobError in strict mode, where no image may be dropped."""
        if self.strict:
            raise JobError(f"{origin}: {what}: remove or rename it, or leave out --strict")
        self.left_out[what] += 1


def simple(name: object) -> str:
    """Return a name without case, spaces and punctuation, in composed Unicode, for comparisons."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFC", str(name)))).casefold()


def same_domain(name: str | None, wanted: str | None) -> bool:
    """Return whether a data set's word for a domain means the wanted one: equal names, or both mean men, or women."""
    if name is None or wanted is None:
        return False
    one, other = simple(name), simple(wanted)
    return one == other or any(one in words and other in words for words in (_MEN, _WOMEN))


def printable(path: str) -> str:
    """Return a path as one line of valid text, whatever bytes its name contains."""
    if path.isascii() and path.isprintable() and "\\" not in path:
        return path
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\\", "/")
    return _CONTROL.sub(lambda match: f"/x{ord(match[0]):02x}", text)


def walk(
    root: str | Path, notes: Notes, endings: tuple[str, ...] = ENDINGS, expected: tuple[str, ...] = ()
) -> Iterator[tuple[str, str]]:
    """Yield (path, path below the root) of every plain file with one of the endings, in any case, in a fixed order.

    In a search for images, files without an ending are checked by their first bytes. Other files are counted by their
    ending, except those with an `expected` ending. Hidden folders and folders of tools and file systems are counted and
    not entered: they contain thumbnails, deleted files and old copies. Links to folders are followed, and each folder
    is entered once, so that a loop of links ends. Files and folders that cannot be read are noted as skipped. Raises
    JobError when the root itself cannot be listed.
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
    """Return the entries of a folder, sorted by name; none when it was entered before or cannot be listed."""
    folder = os.path.join(root, below) if below else root
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in entered:
            return []
        entered.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if not below:
            raise JobError(f"cannot list {folder} ({error.strerror}): check --root and its permissions") from None
        notes.skip(printable(below), f"folder: {error.strerror}")
        return []


def _is_wanted(entry: os.DirEntry, endings: tuple[str, ...], expected: tuple[str, ...], notes: Notes) -> bool:
    """Return whether the search includes a file, by its name or content; count it otherwise."""
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
    """Return whether a file without an ending starts as an image does. Raises OSError when it cannot be read."""
    if not entry.is_file():
        return entry.is_symlink()  # a broken link, which `walk` notes
    with open(entry.path, "rb") as file:
        return is_image(file.read(SIGNATURE_BYTES))
