"""Map the names and numbers that data sets use for the seven emotions: one table of names, one of numbers."""

import difflib
import re
from collections.abc import Iterable

from job.vocabulary import EMOTIONS

_NAMES = {
    "neutral": "neutral neutrality calm ne no-expression expressionless",
    "joy": "joy joyful happy happiness ha smile smiling amusement enjoyment",
    "sadness": "sadness sad sa unhappy sorrow",
    "surprise": "surprise surprised su astonishment astonished",
    "anger": "anger angry an mad fury furious",
    "fear": "fear fearful af afraid fe scared frightened",
    "disgust": "disgust disgusted di",
}
SYNONYMS = {name.replace("-", ""): emotion for emotion, names in _NAMES.items() for name in names.split()}

# Each data set numbers the emotions differently. Contempt is not one of the seven: it is dropped like unknown names.
NUMBERS = {
    "rafdb": ("", "surprise", "fear", "disgust", "joy", "sadness", "anger", "neutral"),
    "fer2013": ("anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral"),
    "ckplus": ("neutral", "anger", "contempt", "disgust", "fear", "joy", "sadness", "surprise"),
    "affectnet": (
        *("neutral", "joy", "sadness", "surprise", "fear", "disgust", "anger"),
        *("contempt", "none", "uncertain", "no face"),
    ),
    "expw": ("anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral"),
    "ravdess": ("", "neutral", "calm", "joy", "sadness", "anger", "fear", "disgust", "surprise"),
}
_WORD = re.compile(r"[A-Z]?[a-z]+|[^\W\d_]+")  # splits AngryFaces too
_BESIDE_WORDS = (
    "face faces facial image images img imgs photo photos pic pics picture pictures emotion expression class"
)
_BESIDE = set(_BESIDE_WORDS.split())
_DIGIT = re.compile("[0-9]")
_DIGITS = tuple(map(str, range(20)))


def label_of(name: str) -> int | None:
    """Return the label of a data set's name for an emotion, in any case and spacing; None for any other name.

    Numbers and words such as "faces" beside the emotion are ignored: `0_angry`, `Angry_faces`, `happy (2)`.
    """
    emotion = SYNONYMS.get("".join(filter(str.isalnum, name)).casefold())
    if emotion is None:
        words = {word.casefold() for word in _WORD.findall(name)} - _BESIDE
        if all(len(word) > 2 for word in words):  # codes of two letters are too ambiguous
            named = {SYNONYMS.get(word) for word in words}
            emotion = named.pop() if len(named) == 1 else None
    return None if emotion is None else EMOTIONS.index(emotion)


def misspelt(word: str, names: Iterable[str]) -> str | None:
    """Return the name that a word may be a misspelling of, or None. Names such as day 1 and day 10 are different."""
    near = {_plain(name): name for name in names}
    for key in difflib.get_close_matches(_plain(word), near, n=3, cutoff=0.8):
        if _DIGIT.sub("", key) != _DIGIT.sub("", _plain(word)):
            return near[key]
    return None


def misspelt_emotion(word: str) -> str | None:
    """Return the usual name of an emotion that a data set's word may be a misspelling of: happy for `Hapy_faces`."""
    words = [word, *(part for part in _WORD.findall(word) if len(part) > 3 and part.casefold() not in _BESIDE)]
    known = [name for name in SYNONYMS if len(name) > 2]
    return next(filter(None, (misspelt(part, known) for part in words)), None)


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold()


def name_of(layout: str, number: int | str) -> str:
    """Return the name of the emotion with this number in a data set, or `number 9` when the number is unknown."""
    names, digits = NUMBERS[layout], str(number).strip()
    known = digits in _DIGITS[: len(names)] and names[int(digits)]
    return known or f"number {digits[:20]}"
