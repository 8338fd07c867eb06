"""The bytes of an image, wherever a layout found it."""

import os
import stat
from collections.abc import Iterable, Iterator

import numpy as np

from job.data.found import Place

MOST_BYTES = 1 << 28  # of one file: no photo is that large
_TOGETHER = 64  # images read in a row
_TOGETHER_BYTES = 1 << 23  # fewer, where they are large
PIXELS = "pixels"  # the part is text, as fer2013.csv has it: square grey pixels as decimal numbers with blanks between


def fetch(place: Place) -> bytes:
    """The encoded image. Raises OSError or ValueError when it cannot be had."""
    if isinstance(place, str):
        # NONBLOCK: a pipe that somebody called x.jpg would be waited for without end
        file = os.open(place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            about = os.fstat(file)
            if not stat.S_ISREG(about.st_mode):
                raise ValueError("not a plain file")
            if about.st_size == 0:
                raise ValueError("the file is empty")
            if about.st_size > MOST_BYTES:
                raise ValueError(f"the file has {about.st_size >> 20} MiB")
            return _read(file, about.st_size)
        finally:
            os.close(file)
    path, start, length, *kind = place
    if length > MOST_BYTES:
        raise ValueError(f"it has {length >> 20} MiB")
    with open(path, "rb") as whole:
        whole.seek(start)
        part = whole.read(length)
    return pixels_to_pgm(part) if kind == [PIXELS] else part


def fetch_all(places: Iterable[Place]) -> Iterator[bytes | Exception]:
    """The encoded images in order, or why one cannot be had.

    Some are read before the first is yielded: to read and to decode in turns would empty the processor's caches again
    and again.
    """
    some, held = [], 0
    for place in places:
        try:
            some.append(fetch(place))
            held += len(some[-1])
        except (OSError, ValueError) as error:
            some.append(error)
        if len(some) == _TOGETHER or held > _TOGETHER_BYTES:
            yield from some
            some, held = [], 0
    yield from some


def pixels_to_pgm(text: bytes) -> bytes:
    """Decimal numbers to a PGM picture. Raises ValueError unless they are n x n values from 0 to 255."""
    words = text.split()
    edge = int(len(words) ** 0.5)
    if not words or edge * edge != len(words):
        raise ValueError(f"{len(words)} pixels are not a square")
    values = np.array(words, np.int64)  # raises ValueError for what is no number
    if values.min() < 0 or values.max() > 255:
        raise ValueError("a pixel is not between 0 and 255")
    return b"P5 %d %d 255\n" % (edge, edge) + values.astype(np.uint8).tobytes()


def _read(file: int, size: int) -> bytes:
    content = os.read(file, size)
    while len(content) < size:
        more = os.read(file, size - len(content))
        if not more:
            break
        content += more
    return content
