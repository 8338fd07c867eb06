"""Make text from data, configurations and servers safe to show in a terminal, a log or a table."""

import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

# Control characters (C0, DEL, C1), line and paragraph separators, marks that reverse the text direction, and
# halves of surrogate pairs, which no encoding can write.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA = tuple("=+-@\t\r＝＋－＠")  # first characters of a formula in a spreadsheet (OWASP, CSV injection)


def control_characters(text: str, allowed: str = "") -> list[str]:
    """Return the characters of `text` that could control a terminal or break a file name."""
    return [character for character in _CONTROL.findall(text) if character not in allowed]


def printable(text: str, keep: str = "\n\t") -> str:
    r"""Replace control characters by their escapes, such as ``\x1b``: untrusted text must not control a terminal."""
    return _CONTROL.sub(lambda match: match[0] if match[0] in keep else ascii(match[0])[1:-1], text)


def shortened(text: str, most: int = 200) -> str:
    """Return `text`, cut in the middle if it is longer than `most` characters."""
    if len(text) <= most:
        return text
    return f"{text[: most - most // 4]}...{text[-(most // 4) :]} ({len(text):,} characters)"


def first_line(error: BaseException | str) -> str:
    """Return the first line of an error's message that is not blank, or the name of its type if there is none."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), "" if isinstance(error, str) else type(error).__name__)


def csv_row(cells: Iterable[Any]) -> list[Any]:
    """Return cells for a CSV file that a spreadsheet shows but does not run.

    Text that starts like a formula gets an apostrophe in front; such a path gets ``./``, which names the same file.
    Control characters become escapes.
    """
    return [_csv_cell(cell) for cell in cells]


def _csv_cell(cell: Any) -> Any:
    if not isinstance(cell, str | PurePath):
        return cell
    text = str(cell)
    if text.startswith(_FORMULA):
        text = f"./{text}" if isinstance(cell, PurePath) else f"'{text}"
    return printable(text, keep="")
