"""The pieces that a page is put together from, as HTML text."""

import base64
from html import escape
from pathlib import Path

import numpy as np
import simplejpeg

from job.monitor.report.svg import LEFT, RIGHT
from job.system.secrets import scrub

_HERE = Path(__file__).parent


def page(title: str, body: str, refresh_seconds: int | None = None) -> str:
    """A whole document that asks nobody for anything: styles, script and pictures are in it. Without secrets."""
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
    """A titled box; nothing where there is no content. `oracle`: it needed target labels."""
    if not content:
        return ""
    mark = '<span class="oracle" title="needed target labels">oracle</span>' if oracle else ""
    told = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<section class="card{" wide" if wide else ""}"><h3>{escape(title)}{mark}</h3>{content}{told}</section>'


def cards(title: str, *content: str, small: bool = False) -> str:
    """A titled grid of cards, two side by side, or three `small` ones; nothing where there are none."""
    inside = "".join(content)
    return f'<h2>{escape(title)}</h2><div class="cards{" small" if small else ""}">{inside}</div>' if inside else ""


def tiles(values: dict[str, str | None]) -> str:
    shown = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in values.items()
        if value is not None
    )
    return f'<div class="tiles">{shown}</div>' if shown else ""


def confusion_table(counts: np.ndarray | None, names: list[str]) -> str:
    """Rows are true classes, cells percent of their row."""
    if counts is None:
        return ""
    heads = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = []
    for name, row in zip(names, counts, strict=True):
        total = max(int(row.sum()), 1)
        cells = []
        for column, count in zip(names, row, strict=True):
            share = count / total
            strong = ' class="strong"' if share > 0.5 else ""
            text = f"{100 * share:.0f}" if count else ""
            title = f"{count} of {total} {name} taken for {column}"
            cells.append(f'<td{strong} style="--share:{share:.3f}" title="{escape(title)}">{text}</td>')
        rows.append(f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>")
    return f'<div class="scroll"><table class="confusion"><tr><th></th>{heads}</tr>{"".join(rows)}</table></div>'


def face_grid(sample: dict[str, np.ndarray], which: str, names: list[str], truth: bool) -> str:
    """Pictures with prediction and confidence, and the true class where `truth` says so."""
    figures = []
    for number, image in enumerate(sample.get(f"{which}_images", ())):
        predicted = names[sample[f"{which}_predicted"][number]]
        told = f"{escape(predicted)} {sample[f'{which}_confidence'][number]:.2f}"
        if truth:
            true = escape(names[sample[f"{which}_labels"][number]])
            told = f'<span class="wrong">{told}</span><br><em>is {true}</em>'
        source = base64.b64encode(simplejpeg.encode_jpeg(np.ascontiguousarray(image), 90)).decode()
        key = escape(str(sample[f"{which}_keys"][number]))
        figures.append(f'<figure><img src="data:image/jpeg;base64,{source}" alt="" title="{key}">{told}</figure>')
    return f'<div class="faces">{"".join(figures)}</div>' if figures else ""


def number_table(values: dict[str, object]) -> str:
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(_told(value))}</td></tr>" for name, value in values.items())
    return f'<div class="scroll"><table class="numbers">{rows}</table></div>' if rows else ""


def _told(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
