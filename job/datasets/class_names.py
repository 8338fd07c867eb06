"""Which words of a data set are classes: the option `classes` of the layouts that read files.

`emotions` (the default) knows the seven by any of their usual names; `folders` takes the words that the source uses,
whatever they are; a list such as `cat,dog` takes those words and no other.
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
_MOST = 32_767  # labels are read as int16
_LONGEST = 100  # characters of a name
_NOT_LABELLED = {"", "unlabelled", "unlabeled"}


@dataclass(frozen=True)
class Classes:
    """The names of the classes in the order of their labels; None until the source has been searched for them."""

    names: tuple[str, ...] | None
    emotions: bool = False

    @property
    def noun(self) -> str:
        """What a class is called in messages."""
        return "emotion" if self.emotions else "class"

    def label_of(self, word: str) -> int | None:
        """Return the label of a data set's word for a class, None where it names no class.

        The seven emotions are known by any of their usual names. Other classes are known by their exact name, then by
        one that differs in case, blanks, hyphens and underscores alone, then as an emotion that only one of them means.
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
        """The ways to know a class, in order, each with the label of every key that only one class has."""
        ways = []
        for key in (_exact, _folded, label_of):
            keys = [key(name) for name in self.names or ()]
            times = Counter(keys)
            ways.append((key, {k: label for label, k in enumerate(keys) if k is not None and times[k] == 1}))
        return ways

    def settle(self, words: Iterable[str], where: str) -> "Classes":
        """Return these classes, or, where they are to be found, those that the `words` of the source name.

        They are in natural order, so that 10 follows 9. `where` names the source in messages. Raises JobError for fewer
        than two.
        """
        if self.names is not None:
            return self
        names = sorted({_exact(word) for word in words}, key=natural)
        if len(names) < 2 or len(names) > _MOST:
            found = f"only {names[0]}" if len(names) == 1 else f"{len(names)} classes" if names else "no class"
            raise JobError(
                f"--option classes={FOLDERS}: {where} names {found}, and 2 to {_MOST} are needed: one folder (or value "
                "in the table, or .cls) for each class"
            )
        _check_printable(names, where)
        return Classes(tuple(names))


OF_EMOTIONS = Classes(SEVEN, emotions=True)


def read_classes(option: str | None) -> Classes:
    """Return the classes that the option asks for. Raises JobError for a list that cannot be one."""
    if option in (None, EMOTIONS):
        return OF_EMOTIONS
    return Classes(None) if option == FOLDERS else listed(split_names(option), f"--option classes={option}")


def split_names(option: str | None) -> tuple[str, ...]:
    """Return the names of a list such as `cat,dog`, none for the words that stand for no list."""
    if option in (None, EMOTIONS, FOLDERS):
        return ()
    return tuple(_exact(name) for name in option.split(","))


def listed(names: Sequence[str], where: str) -> Classes:
    """Return classes of these names. Raises JobError for an empty or a repeated one, or fewer than two."""
    if len(names) < 2 or not all(names):
        raise JobError(f"{where}: give {EMOTIONS}, {FOLDERS}, or names with commas between, such as cat,dog")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise JobError(f"{where}: {twice} is listed twice: give each class once")
    _check_printable(names, where)
    return Classes(tuple(names))


def _check_printable(names: Iterable[str], where: str) -> None:
    """Raise JobError for a name that cannot stand in a line of text, such as the name of a metric."""
    for name in names:
        if not name.isprintable() or len(name) > _LONGEST:
            raise JobError(
                f"{where}: {name[:40]!r} cannot be the name of a class: it must be one line, {_LONGEST} "
                "characters at most"
            )


def is_unlabelled(word: str | None) -> bool:
    """Whether a data set's word for a class says that there is no label: it is absent, empty, or `unlabelled`."""
    return word is None or _exact(word).casefold() in _NOT_LABELLED


def _exact(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip())


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", _exact(name).casefold()).strip() or name


def natural(name: str) -> tuple:
    """Return a key that sorts names with numbers in them by the numbers: 9 comes before 10."""
    parts = [*re.split(r"([0-9]+)", name), ""]  # a text, a number, a text, a number
    numbers = [digits.lstrip("0") for digits in parts[1::2]]
    return [(text.casefold(), len(digits), digits) for text, digits in zip(parts[::2], numbers)], name
