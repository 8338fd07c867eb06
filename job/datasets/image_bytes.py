"""The bytes of an image, wherever a layout found it."""

import os
import stat
from collections.abc import Iterable, Iterator

import numpy as np

from job.datasets.image_search import Place

MOST_BYTES = 1 << 28  # of one file: no photo is that large
Stamp = tuple[int, int]  # bytes, time of the last change in ns
# NONBLOCK: a pipe that somebody called x.jpg would be waited for without end
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
_TOGETHER = 64  # images read in a row
_TOGETHER_BYTES = 1 << 23  # fewer, where they are large
PIXELS = "pixels"  # the part is text, as fer2013.csv has it: square grey pixels as decimal numbers with blanks between


def fetch(place: Place) -> bytes:
    """The encoded image. Raises OSError or ValueError when it cannot be had."""
    return _fetch(place)[0]


def fetch_in_groups(places: Iterable[Place]) -> Iterator[list[tuple[bytes | Exception, Stamp | None]]]:
    """The encoded images in order, or why one cannot be had; and the stamps of the files they were in.

    In groups: to read and to decode in turns would empty the processor's caches again and again.
    """
    group, held = [], 0
    for place in places:
        try:
            group.append(_fetch(place))
            held += len(group[-1][0])
        except (OSError, ValueError) as error:
            group.append((error, stamp(place)))
        if len(group) == _TOGETHER or held > _TOGETHER_BYTES:
            yield group
            group, held = [], 0
    if group:
        yield group


def stamp(place: Place) -> Stamp | None:
    """By what a change of the file is noticed without reading it; None where it cannot be looked at."""
    try:
        return _stamp(os.stat(place if isinstance(place, str) else place[0]))
    except (OSError, ValueError):  # ValueError: NUL in a name
        return None


def _stamp(about: os.stat_result) -> Stamp:
    return about.st_size, about.st_mtime_ns


def _fetch(place: Place) -> tuple[bytes, Stamp]:
    whole = isinstance(place, str)
    file = os.open(place if whole else place[0], _READ)
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("not a plain file")
        start, length = (0, about.st_size) if whole else place[1:3]
        if length == 0:
            raise ValueError("the file is empty")
        if length > MOST_BYTES:
            raise ValueError(f"it has {length >> 20} MiB")
        content = _read(file, start, length)
    finally:
        os.close(file)
    if not whole and place[3:] == (PIXELS,):
        content = pixels_to_pgm(content)
    return content, _stamp(about)


def pixels_to_pgm(text: bytes) -> bytes:
    """Decimal numbers to a PGM picture. Raises ValueError unless they are n x n values from 0 to 255."""
    words = text.split()
    edge = int(len(words) ** 0.5)
    if not words or edge * edge != len(words):
        raise ValueError(f"{len(words)} pixels are not a square")
    try:
        values = np.array(words, np.int64)  # raises ValueError for what is no number
    except OverflowError:  # nor is that between 0 and 255
        values = np.array([-1])
    if values.min() < 0 or values.max() > 255:
        raise ValueError("a pixel is not between 0 and 255")
    return b"P5 %d %d 255\n" % (edge, edge) + values.astype(np.uint8).tobytes()


def _read(file: int, start: int, length: int) -> bytes:
    content = os.pread(file, length, start)
    while len(content) < length:
        more = os.pread(file, length - len(content), start + len(content))
        if not more:
            break
        content += more
    return content
