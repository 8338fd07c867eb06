"""A record of an image on disk: its bytes, and its pixels."""

import numpy as np

from job.data.crop import crop_to
from job.data.fetch import fetch
from job.data.picture import read_picture
from job.data.records import Record


def load(record: Record) -> bytes:
    """The encoded image. Raises OSError or ValueError when it cannot be had."""
    return fetch(record.payload[0])


def decode(record: Record, content: bytes) -> np.ndarray:
    """Its pixels, uint8 RGB [H, W, 3]: of the face where one was looked for and found. Raises UnreadableError."""
    return crop_to(read_picture(content), record.payload[1])


def read(record: Record, size: int) -> np.ndarray:
    """Both in one, as Layout.read; `size` is left to the writer."""
    return decode(record, load(record))
