"""Charts as SVG text. Colours come from the style sheet or are readable on light and dark pages."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 560, 250
LEFT, RIGHT, TOP, BOTTOM = 56, 10, 10, 28
MOST_POINTS = 400  # of a line; longer ones are thinned


@dataclass(frozen=True)
class Line:
    name: str
    steps: Sequence[float]
    values: Sequence[float]
    colour: str
    dashed: bool = False
    low: Sequence[float] | None = None  # band around the line
    high: Sequence[float] | None = None


@dataclass(frozen=True)
class Frame:
    """Map data to the pixels of a chart."""

    x: tuple[float, float]
    y: tuple[float, float]

    def to_x(self, value: float) -> float:
        """Return the x coordinate of a value, px."""
        return LEFT + (value - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT)

    def to_y(self, value: float) -> float:
        """Return the y coordinate of a value, px, clipped to the limits."""
        clipped = min(max(value, self.y[0]), self.y[1])
        return HEIGHT - BOTTOM - (clipped - self.y[0]) / (self.y[1] - self.y[0]) * (HEIGHT - TOP - BOTTOM)

    def levels(self) -> str:
        """Draw the vertical axis: grid lines with numbers, and the base line."""
        parts = []
        for tick in ticks(*self.y):
            y = self.to_y(tick)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{short(tick)}</text>')
        bottom = HEIGHT - BOTTOM
        return "".join(parts) + f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>'

    def below(self, labels: Sequence[tuple[float, str]]) -> str:
        """Draw labels (x value, text) under the base line."""
        parts = []
        for value, text in labels:
            x = self.to_x(value)
            anchor = "end" if x > WIDTH - 30 else "middle"
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{escape(text)}</text>'
            )
        return "".join(parts)


def line_chart(
    lines: Sequence[Line],
    y: tuple[float | None, float | None] = (None, None),
    reference: float | None = None,
    end: float | None = None,
) -> str:
    """Draw lines over steps from 0 to `end`; return "" without data.

    `y` fixes the lower or upper limit, `reference` draws a horizontal line.
    """
    lines = [_thinned(line) for line in lines if len(line.steps)]
    if not lines:
        return ""
    values = [v for line in lines for part in (line.values, line.low, line.high) if part is not None for v in part]
    values += [] if reference is None else [reference]
    low = min(values) if y[0] is None else y[0]
    high = max(values) if y[1] is None else y[1]
    if high - low < 1e-9:
        low, high = low - 0.5 * (y[0] is None), high + 0.5
    else:
        low, high = low - 0.05 * (high - low) * (y[0] is None), high + 0.05 * (high - low) * (y[1] is None)
    last = end or max(line.steps[-1] for line in lines)
    frame = Frame((0, max(last, 1)), (low, high))
    parts = [frame.levels(), frame.below([(tick, short(tick)) for tick in ticks(*frame.x)])]
    if reference is not None:
        level = frame.to_y(reference)
        parts.append(f'<line class="reference" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level:.1f}" y2="{level:.1f}"/>')
    for line in lines:
        if line.low is not None and line.high is not None:
            edge = [*zip(line.steps, line.high), *reversed(list(zip(line.steps, line.low)))]
            parts.append(f'<polygon points="{_points(frame, edge)}" fill="{line.colour}" opacity="0.18"/>')
        points = list(zip(line.steps, line.values))
        dashes = ' stroke-dasharray="5 4"' if line.dashed else ""
        parts.append(f'<polyline points="{_points(frame, points)}" stroke="{line.colour}"{dashes}/>')
        if len(points) <= 12:
            parts += [
                f'<circle cx="{frame.to_x(x):.1f}" cy="{frame.to_y(v):.1f}" r="2.6" fill="{line.colour}"/>'
                for x, v in points
            ]
    data = {
        "frame": [frame.x[0], frame.x[1], frame.y[0], frame.y[1]],
        "lines": [[line.name, line.colour, list(line.steps), [round(v, 6) for v in line.values]] for line in lines],
    }
    return _svg("".join(parts), f' class="lines" data-chart="{escape(json.dumps(data))}"') + legend(
        [(line.name, line.colour, line.dashed) for line in lines]
    )


def legend(entries: Sequence[tuple[str, str, bool]]) -> str:
    """Return the legend of lines (name, colour, dashed)."""
    items = "".join(
        f'<span><i style="--c:{colour}"{" class=dashed" if dashed else ""}></i>{escape(name)}</span>'
        for name, colour, dashed in entries
    )
    return f'<div class="legend">{items}</div>'


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return about `about` round numbers between two limits."""
    raw = (high - low) / about
    size = 10 ** np.floor(np.log10(raw))
    size *= min((1, 2, 2.5, 5, 10), key=lambda factor: abs(factor * size - raw))
    first = np.ceil(low / size - 1e-9)
    return [float(round(n * size, 12)) + 0.0 for n in np.arange(first, np.floor(high / size + 1e-9) + 1)]


def short(value: float) -> str:
    """Format a number for a tick: 12,000 -> 12k, 0.30000 -> 0.3, 0.00125 -> 1.25e-3."""
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    if 0 < abs(value) < 0.005:
        digits, exponent = f"{value:.2e}".split("e")
        return f"{float(digits):g}e{int(exponent)}"
    return f"{value + 0.0:.6g}"


def _svg(content: str, attributes: str = "") -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}"{attributes}>{content}</svg>'


def _points(frame: Frame, pairs) -> str:
    return " ".join(f"{frame.to_x(x):.1f},{frame.to_y(y):.1f}" for x, y in pairs)


def _thinned(line: Line) -> Line:
    stride = -(-len(line.steps) // MOST_POINTS)
    if stride == 1:
        return line
    keep = sorted({*range(0, len(line.steps), stride), len(line.steps) - 1})
    parts = {
        name: None if getattr(line, name) is None else [getattr(line, name)[i] for i in keep]
        for name in ("steps", "values", "low", "high")
    }
    return Line(line.name, colour=line.colour, dashed=line.dashed, **parts)
