"""Read the encoded bytes of an image: a file, or a part of one."""

import io
import os
import stat
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from job.datasets.image_search import FaceBox, Location, ParquetImage
from job.datasets.parquet_files import image_in_row

MAX_BYTES = 1 << 28  # 256 MiB; photos are smaller
Stamp = tuple[int, int]  # size in bytes, time of the last change in ns
# NONBLOCK: opening a pipe called x.jpg would block forever
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
_GROUP = 64  # images read in one go
_GROUP_BYTES = 1 << 23  # limits the group when images are large
PIXELS = "pixels"  # kind of a part that is text, as in fer2013.csv: grey pixels of a square image as decimal numbers


def fetch(location: Location) -> bytes:
    """Return the encoded image. Raises OSError or ValueError when it cannot be read."""
    return _fetch(location)[0]


def fetch_in_groups(locations: Iterable[Location]) -> Iterator[list[tuple[bytes | Exception, Stamp | None]]]:
    """Yield groups of (encoded image, or the error of reading it; stamp of its file), in order.

    Groups, because alternating between reading and decoding would empty the processor's caches again and again.
    """
    group, group_bytes = [], 0
    for location in locations:
        try:
            group.append(_fetch(location))
            group_bytes += len(group[-1][0])
        except (OSError, ValueError) as error:
            group.append((error, stamp(location)))
        if len(group) == _GROUP or group_bytes > _GROUP_BYTES:
            yield group
            group, group_bytes = [], 0
    if group:
        yield group


def stamp(location: Location) -> Stamp | None:
    """Return size and modification time, which show a change of the file without reading it; None on an error."""
    try:
        return _stamp(os.stat(location if isinstance(location, str) else location[0]))
    except (OSError, ValueError):  # ValueError: a name that contains NUL
        return None


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_size, status.st_mtime_ns


def _fetch(location: Location) -> tuple[bytes, Stamp]:
    if isinstance(location, FaceBox):
        content, file_stamp = _fetch(location.path)
        return cut_out(content, location), file_stamp
    if isinstance(location, ParquetImage):
        return image_in_row(location), _stamp(os.stat(location.path))
    whole = isinstance(location, str)
    file = os.open(location if whole else location[0], _READ)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a plain file")
        start, length = (0, status.st_size) if whole else location[1:3]
        if length == 0:
            raise ValueError("the file is empty")
        if length > MAX_BYTES:
            raise ValueError(f"the file has {length >> 20} MiB, at most {MAX_BYTES >> 20} are read")
        content = _read(file, start, length)
    finally:
        os.close(file)
    if not whole and location[3:] == (PIXELS,):
        content = pixels_to_pgm(content)
    return content, _stamp(status)


def cut_out(content: bytes, box: FaceBox) -> bytes:
    """Return the part of an encoded image in a box, as a PPM image. Raises ValueError when it lies outside."""
    with Image.open(io.BytesIO(content)) as image:
        left, top = max(box.left, 0), max(box.top, 0)
        right, bottom = min(box.right, image.width), min(box.bottom, image.height)
        if left >= right or top >= bottom:
            raise ValueError(f"the box {box.left}, {box.top} to {box.right}, {box.bottom} holds no part of the image")
        part = image.convert("RGB").crop((left, top, right, bottom))
    return b"P6 %d %d 255\n" % part.size + part.tobytes()


def pixels_to_pgm(text: bytes) -> bytes:
    """Convert decimal numbers to a PGM image. Raises ValueError unless they are n x n values from 0 to 255."""
    words = text.split()
    edge = int(len(words) ** 0.5)
    if not words or edge * edge != len(words):
        raise ValueError(f"{len(words)} pixels are not a square")
    try:
        values = np.array(words, np.int64)  # raises ValueError for anything but numbers
    except OverflowError:  # too large for int64, so not in [0, 255] either
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
