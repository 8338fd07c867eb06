"""Encode pixels as JPEG, in one way for both domains: a difference would give the domain away (docs/pitfalls.md)."""

import cv2
import numpy as np
import simplejpeg

from job.shards.writing.crop import central_square

_PIXELS = np.dtype(np.uint8)


def encode(image: np.ndarray, size: int, quality: int, crop: str = "center") -> bytes:
    """The JPEG (4:4:4) of an RGB picture uint8 [H, W, 3], resized to `size` pixels.

    Of a picture that is not square, the largest central square is taken; with `crop` "none" all of it, squeezed.
    Raises ValueError when the array is no such picture.
    """
    if image.dtype != _PIXELS or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"the layout gave {image.dtype} {image.shape} instead of uint8 [H, W, 3]")
    if crop != "none":
        image = central_square(image)
    if image.shape[:2] != (size, size):
        # INTER_AREA averages what it shrinks; the others would alias
        filtering = cv2.INTER_AREA if min(image.shape[:2]) > size else cv2.INTER_CUBIC
        image = cv2.resize(image, (size, size), interpolation=filtering)
    return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, "RGB", "444")
