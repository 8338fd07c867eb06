"""Decode a JPEG into a row of a batch, without an intermediate copy."""

import numpy as np
import simplejpeg

from job.shards.jpeg_header import jpeg_header
from job.shards.reading.tar_index import Shard
from job.system.errors import JobError


def decode_into(jpeg: bytes, row: np.ndarray) -> None:
    """Decode a JPEG to RGB into `row`, uint8 [H, W, 3]. Raises ValueError when it is damaged or of another size."""
    try:
        picture = simplejpeg.decode_jpeg(jpeg, "RGB", buffer=row)
    except ValueError as error:
        raise ValueError(_wrong_size(jpeg, row) or str(error)) from None
    if picture.shape != row.shape:
        raise ValueError(_wrong_size(jpeg, row))


def decode_or_fail(shard: Shard, i: int, row: np.ndarray) -> None:
    """Decode image i of a shard into `row`. Raises JobError, naming shard and key, when it cannot be decoded."""
    try:
        decode_into(shard.jpeg(i), row)
    except ValueError as error:
        raise JobError(
            f"shard {shard.path}: {shard.key(i)} cannot be decoded ({error}): write the shards again"
        ) from None


def _wrong_size(jpeg: bytes, row: np.ndarray) -> str | None:
    try:
        height, width = jpeg_header(jpeg, strict=False)[:2]
    except ValueError:
        return None
    if (height, width) == row.shape[:2]:
        return None
    return f"it is {width} x {height} pixels but the manifest says {row.shape[1]} x {row.shape[0]}"
