"""Draw a contact sheet of the most and the least confident predictions."""

import heapq
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from job.shards.inspection.contact_sheet import FORMATS
from job.system.files import atomic_path, make_folder, writing
from job.system.text import printable, shortened

_COLUMNS, _ROWS = 8, 2  # of each block
_EDGE = 96  # px of an image
_TEXT, _TITLE, _GAP = 26, 18, 6  # px


class ConfidenceSheet:
    """Keep the most and the least confident predictions, and draw them."""

    def __init__(self) -> None:
        self._number = 0
        self._most: list[tuple[float, int, np.ndarray, str]] = []  # heaps; the number breaks ties
        self._least: list[tuple[float, int, np.ndarray, str]] = []

    def add(self, pixels: np.ndarray, confidence: float, label: str, path: str | Path) -> None:
        """Add a prediction for an image uint8 [S, S, 3]."""
        text = f"{label} {confidence:.2f}\n{shortened(printable(Path(str(path)).name, keep=''), 60)}"
        for heap, key in ((self._most, confidence), (self._least, -confidence)):
            entry = (key, -self._number, pixels, text)
            if len(heap) < _COLUMNS * _ROWS:
                heapq.heappush(heap, entry)
            elif entry[:2] > heap[0][:2]:
                heapq.heapreplace(heap, entry)
        self._number += 1

    def draw(self) -> Image.Image:
        """Draw both blocks, the most confident first in one and the least confident first in the other."""
        cell, row = _EDGE + _GAP, _EDGE + _TEXT
        most = min(-(-self._number // 2), _COLUMNS * _ROWS)  # of few images, each is in one block
        least = min(self._number - most, _COLUMNS * _ROWS)
        rows = max(1, -(-most // _COLUMNS))
        block = _TITLE + rows * row
        sheet = Image.new("RGB", (_COLUMNS * cell + _GAP, 2 * block + _GAP), "white")
        pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
        blocks = (("most confident", self._most, most), ("least confident", self._least, least))
        for index, (title, heap, count) in enumerate(blocks):
            top = index * block
            pen.text((_GAP, top + 4), title, "black", font)
            ordered = sorted(heap, key=lambda entry: entry[:2], reverse=True)[:count]
            for place, (_, _, pixels, text) in enumerate(ordered):
                left, upper = _GAP + place % _COLUMNS * cell, top + _TITLE + place // _COLUMNS * row
                sheet.paste(Image.fromarray(pixels).resize((_EDGE, _EDGE), Image.Resampling.LANCZOS), (left, upper))
                for line, part in enumerate(text.split("\n")):
                    pen.text((left, upper + _EDGE + 12 * line), _cut(pen, part, font), "black", font)
        return sheet

    def write(self, path: Path) -> None:
        """Write the sheet atomically. Raises JobError when it cannot be written."""
        make_folder("--sheet", path.parent)
        with writing(f"--sheet {path}", "choose another place, or make room"), atomic_path(path) as partial:
            self.draw().save(partial, format=FORMATS[path.suffix.lower()])


def _cut(pen: ImageDraw.ImageDraw, text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """Return a text, without its middle if it does not fit below an image: names often differ at their end alone."""
    cut, kept = text, len(text)
    while kept and pen.textlength(cut, font) > _EDGE:
        kept -= 1
        cut = f"{text[: kept // 3]}..{text[len(text) - (kept - kept // 3) :]}"
    return cut
