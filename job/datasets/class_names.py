"""Decide which words of a data set are classes: the option `classes` of the layouts that read files.

`emotions` (the default) accepts the seven emotions under any of their usual names; `folders` takes every word that the
source uses as a class; a list such as `cat,dog` takes exactly those words.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from job.datasets.classes import label_of
from job.system.errors import JobError
from job.vocabulary import EMOTIONS as SEVEN

EMOTIONS, FOLDERS = "emotions", "folders"
_MAX_CLASSES = 32_767  # labels are stored as int16
_MAX_LENGTH = 100  # characters of a name
_NOT_LABELLED = {"", "unlabelled", "unlabeled"}


@dataclass(frozen=True)
class Classes:
    """The names of the classes in the order of their labels; None until `settle` has read them from the source."""

    names: tuple[str, ...] | None
    emotions: bool = False

    @property
    def noun(self) -> str:
        """The word for a class in messages."""
        return "emotion" if self.emotions else "class"

    def label_of(self, word: str) -> int | None:
        """Return the label of a data set's word for a class, None where it names no class.

        The seven emotions match any of their usual names. Other classes match by exact name, then ignoring case,
        blanks, hyphens and underscores, then as a name of an emotion that only one of the classes means.
        """
        if self.emotions:
            return label_of(word)
        if self.names is None:
            return None
        for key, labels in self._keys:
            label = labels.get(key(word))
            if label is not None:
                return label
        return None

    @cached_property
    def _keys(self) -> list[tuple[Callable, dict]]:
        """The ways to match a word, in order: the function that makes a key, and the labels of keys that are unique."""
        ways = []
        for key in (_exact, _folded, label_of):
            keys = [key(name) for name in self.names or ()]
            times = Counter(keys)
            ways.append((key, {k: label for label, k in enumerate(keys) if k is not None and times[k] == 1}))
        return ways

    def settle(self, words: Iterable[str], where: str) -> "Classes":
        """Return these classes, or, when they have no names yet, one class for each of the source's `words`.

        Their order is natural, so that 10 follows 9. `where` names the source in messages. Raises JobError for fewer
        than two classes.
        """
        if self.names is not None:
            return self
        names = sorted({_exact(word) for word in words}, key=natural)
        if len(names) < 2 or len(names) > _MAX_CLASSES:
            count = f"only {names[0]}" if len(names) == 1 else f"{len(names)} classes" if names else "no class"
            raise JobError(
                f"--option classes={FOLDERS}: {where} names {count}, and 2 to {_MAX_CLASSES} are needed: one "
                "folder (or value in the table, or .cls) for each class"
            )
        _check_printable(names, where)
        return Classes(tuple(names))


OF_EMOTIONS = Classes(SEVEN, emotions=True)


def read_classes(option: str | None) -> Classes:
    """Return the classes that the option selects. Raises JobError for an invalid list."""
    if option in (None, EMOTIONS):
        return OF_EMOTIONS
    return Classes(None) if option == FOLDERS else listed(split_names(option), f"--option classes={option}")


def split_names(option: str | None) -> tuple[str, ...]:
    """Return the names in a list such as `cat,dog`; an empty tuple for `emotions`, `folders` and no option."""
    if option in (None, EMOTIONS, FOLDERS):
        return ()
    return tuple(_exact(name) for name in option.split(","))


def listed(names: Sequence[str], where: str) -> Classes:
    """Return classes with these names. Raises JobError for an empty or repeated name, or fewer than two."""
    if len(names) < 2 or not all(names):
        raise JobError(f"{where}: give {EMOTIONS}, {FOLDERS}, or names with commas between, such as cat,dog")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise JobError(f"{where}: {twice} is listed twice: give each class once")
    _check_printable(names, where)
    return Classes(tuple(names))


def _check_printable(names: Iterable[str], where: str) -> None:
    """Raise JobError for a name that does not fit into one line: names of classes become parts of metric names."""
    for name in names:
        if not name.isprintable() or len(name) > _MAX_LENGTH:
            raise JobError(
                f"{where}: {name[:40]!r} cannot be the name of a class: it must be one line, {_MAX_LENGTH} "
                "characters at most"
            )


def is_unlabelled(word: str | None) -> bool:
    """Return whether a data set's word for a class means no label: it is absent, empty, or `unlabelled`."""
    return word is None or _exact(word).casefold() in _NOT_LABELLED


def _exact(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip())


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", _exact(name).casefold()).strip() or name


def natural(name: str) -> tuple:
    """Return a sort key that compares the numbers in names as numbers: 9 comes before 10."""
    parts = [*re.split(r"([0-9]+)", name), ""]  # text, number, text, number, ...
    numbers = [digits.lstrip("0") for digits in parts[1::2]]
    return [(text.casefold(), len(digits), digits) for text, digits in zip(parts[::2], numbers)], name
