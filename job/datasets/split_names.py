"""Recognise the names that data sets use for train, val and test, in folders, columns and fields of every layout."""

import re
from collections.abc import Iterable
from functools import lru_cache

from job.system.errors import JobError

# Names are compared word by word, in any case; the words "beside" and years are ignored.
_SYNONYMS = {
    "train": "train training trn",
    "val": "val valid validation validate dev devel development publictest",  # FER2013: the public test set came first
    "test": "test tests testing tst privatetest",
}
_SPLITS = {word: split for split, words in _SYNONYMS.items() for word in words.split()}
_OTHER_WORDS = {
    # ignored beside the name of a split
    "beside": "set sets split splits data dataset subset partition image images img imgs pic pics picture pictures "
    "photo photos face faces jpg jpeg png file files fer ferplus raw orig original aligned cropped crop resized clean "
    "cleaned aug augmented balanced small mini full final all labelled labeled unlabelled unlabeled",
    # about splits, without saying which of the three
    "unclear": "holdout heldout eval evaluation evaluate unseen trainval trainvalid traintest valtest",
    # a person who is tested or trains
    "people": "subject subjects person people participant participants sub id patient actor student name",
}
_BESIDE, _UNCLEAR, _PEOPLE = (set(words.split()) for words in _OTHER_WORDS.values())
_NEVER_A_NAME = {"train", "training", "test", "testing", "validation"}  # people are called Val and Dev
_WORD = re.compile(r"\d+|[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_YEAR = re.compile(r"(19|20)\d\d")


@lru_cache(maxsize=1024)
def split_of(name: str) -> str | None:
    """Return train, val or test for its usual names (`Training`, `test_set`, `val2017`, `PublicTest`), else None."""
    return _SPLITS.get("".join(_words(name)))


def split_within(name: str) -> str | None:
    """Return the only split that a longer name, such as a tar's (`faces-train-000012`), contains, else None."""
    named = {_SPLITS[word] for word in _words(name) if word in _SPLITS}
    return named.pop() if len(named) == 1 else None


def looks_like_split(name: str) -> bool:
    """Return whether a name is about splits without saying which: `testing_2`, `holdout`, `train_val`."""
    words = _words(name)
    if split_of(name) is not None or any(word in _PEOPLE for word in words):
        return False
    if "".join(words) in _UNCLEAR or any(word in _UNCLEAR for word in words):
        return True
    split_words = [word for word in words if word in _SPLITS]
    rest = [word for word in words if word not in _SPLITS]
    numbered = all(word.isdigit() or len(word) == 1 for word in rest)
    return (
        len(split_words) > 1 or (bool(split_words) and numbered) or any(word in _NEVER_A_NAME for word in split_words)
    )


def split_of_folders(folders: Iterable[str]) -> str | None:
    """Return the split that the first of these folders with the name of a split means, None without one.

    Raises JobError when a folder only looks like a split: its images must not end up in train unnoticed.
    """
    folders = list(folders)
    split = next(filter(None, map(split_of, folders)), None)
    if split is None:
        unclear = next(filter(looks_like_split, folders), None)
        if unclear is not None:
            raise JobError(
                f"folder {'/'.join(folders)}: {unclear!r} looks like a split, but is not clearly train, val or test: "
                "rename it to one of these, or to another name if it is not a split"
            )
    return split


def read_split(text: object, where: str) -> str | None:
    """Return the split that the value of a column or field means; None when it is empty.

    Raises JobError naming `where` the value is for an unknown word: the split of its images would be a guess.
    """
    if text is None or (isinstance(text, str) and not text.strip()):
        return None
    split = split_of(text) if isinstance(text, str) else None
    if split is None:
        raise JobError(
            f"{where}: split {str(text)[:60]!r} is not train, val or test, nor another name for one of them "
            "(job/datasets/split_names.py has the table): correct it"
        )
    return split


def _words(name: str) -> list[str]:
    """Return the words of a name that may mean a split, in lower case."""
    words = []
    for word in _WORD.findall(_CAMEL.sub(" ", name)):
        word = word.casefold()
        for beside in _BESIDE:  # trainset, testimages
            if word.endswith(beside) and word[: -len(beside)] in _SPLITS:
                word = word[: -len(beside)]
        if word not in _BESIDE and not _YEAR.fullmatch(word):
            words.append(word)
    return words
