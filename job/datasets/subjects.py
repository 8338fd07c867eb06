"""Normalise names of subjects, so that spellings of one person compare equal."""

import unicodedata


def same_person(subject: str | None) -> str | None:
    """Return a name in the form for comparisons: `Anna` and `ANNA`, and `René` in either form of Unicode, are equal.

    File systems and programs differ in case, in composed and decomposed letters and in blanks; one person under two
    names could be put into two splits.
    """
    if subject is None:
        return None
    folded = unicodedata.normalize("NFC", subject).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())
