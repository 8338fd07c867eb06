"""LaTeX from untrusted text, and tables for the package booktabs."""

import re
from collections.abc import Sequence

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_SPECIAL = re.compile("[" + re.escape("".join(_ESCAPES)) + "]")


def plain(text: str) -> str:
    """Escape `text` so that LaTeX shows it literally, in one line."""
    return _SPECIAL.sub(lambda match: _ESCAPES[match[0]], " ".join(str(text).split()))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """Return a `tabular` of plain cells, the first column aligned left; `notes` become comments above it."""
    lines = [f"% {' '.join(note.split())}" for note in notes]
    lines += [rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}", r"\toprule"]
    lines += [" & ".join(map(plain, heads)) + r" \\", r"\midrule"]
    lines += [" & ".join(map(plain, row)) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"
