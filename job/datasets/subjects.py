"""Which names of subjects mean the same person."""

import unicodedata


def same_person(subject: str | None) -> str | None:
    """The form in which names are compared: `Anna` and `ANNA`, and `René` in either form of Unicode, are one person.

    File systems and programs differ in case, in composed and decomposed letters and in blanks; a person that were taken
    for two would be in two splits.
    """
    if subject is None:
        return None
    folded = unicodedata.normalize("NFC", subject).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())
