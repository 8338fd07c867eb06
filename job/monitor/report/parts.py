"""Building blocks of a page, as HTML text."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from job.monitor.report.svg import LEFT, RIGHT
from job.system.secrets import scrub

_HERE = Path(__file__).parent


def page(title: str, body: str, refresh_seconds: int | None = None) -> str:
    """Return a self-contained document with style, script and images inline. Secrets are removed."""
    refresh = f'<meta http-equiv="refresh" content="{refresh_seconds}">' if refresh_seconds else ""
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    script = (_HERE / "hover.js").read_text(encoding="utf-8")
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>{refresh}'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>\n{style}</style></head>\n'
        f'<body><main>{body}</main><div id="tip"></div>\n'
        f"<script>\nconst LEFT = {LEFT}, RIGHT = {RIGHT};\n{script}</script></body></html>\n"
    )
    return scrub(text)


def card(title: str, content: str, note: str = "", oracle: bool = False, wide: bool = False) -> str:
    """Return a titled box, or "" without content. `oracle` marks content that needs target labels."""
    if not content:
        return ""
    mark = '<span class="oracle" title="needs target labels">oracle</span>' if oracle else ""
    note_text = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        f'<section class="card{" wide" if wide else ""}"><h3>{escape(title)}{mark}</h3>{content}{note_text}</section>'
    )


def cards(title: str, *content: str, small: bool = False) -> str:
    """Return a titled grid of cards, in two columns or three `small` ones; "" without cards."""
    inside = "".join(content)
    return f'<h2>{escape(title)}</h2><div class="cards{" small" if small else ""}">{inside}</div>' if inside else ""


def tiles(values: dict[str, str | None]) -> str:
    """Return a row of large values with their names; values that are None are omitted."""
    shown = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in values.items()
        if value is not None
    )
    return f'<div class="tiles">{shown}</div>' if shown else ""


def image(path: Path, photo: bool = False) -> str:
    """Return a PNG file as an inline image, or "" if it cannot be read.

    The style inverts drawings on a dark page, but not a `photo`.
    """
    try:
        content = base64.b64encode(path.read_bytes()).decode()
    except OSError:
        return ""
    kind = "photo" if photo else "drawing"
    return f'<img class="{kind}" src="data:image/png;base64,{content}" alt="">'


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of text; the first cell of each row is its heading."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(
        f"<tr><th>{escape(row[0])}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>" for row in rows
    )
    return f'<div class="scroll"><table class="numbers"><tr>{head}</tr>{body}</table></div>' if rows else ""


def number_table(values: dict[str, object]) -> str:
    """Return a table of names and values."""
    texts = {name: f"{value:.4f}" if isinstance(value, float) else str(value) for name, value in values.items()}
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in texts.items())
    return f'<div class="scroll"><table class="numbers">{rows}</table></div>' if rows else ""
