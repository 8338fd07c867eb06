"""Markdown from text that others chose: names of classes and runs must not become markup, HTML or a row."""

import re
from collections.abc import Sequence

_MARKUP = re.compile(r"([\\`*_{}\[\]()#!|~$])")


def plain(text: str) -> str:
    """`text` as Markdown that reads as the text itself, in one line."""
    text = " ".join(str(text).split())
    return _MARKUP.sub(r"\\\1", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(text: str) -> str:
    """`text` as inline code, in one line: the fence is longer than any row of backticks in it."""
    text = " ".join(str(text).split())
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    blank = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{blank}{text}{blank}{fence}".replace("|", "\\|")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; its cells are Markdown already."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
