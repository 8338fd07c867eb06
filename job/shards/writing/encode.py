"""Encode pixels as JPEG, identically for both domains: a difference would reveal the domain (docs/pitfalls.md)."""

import cv2
import numpy as np
import simplejpeg

from job.shards.writing.crop import central_square

_PIXELS = np.dtype(np.uint8)


def encode(image: np.ndarray, size: int, quality: int, crop: str = "center", gray: bool = False) -> bytes:
    """Encode an RGB image uint8 [H, W, 3] as a JPEG of `size` x `size` pixels: in colour (4:4:4), or its luma alone.

    An image that is not square is cropped to its largest central square; with `crop` "none" it is squeezed instead.
    Raises ValueError for any other array.
    """
    if image.dtype != _PIXELS or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"the layout gave {image.dtype} {image.shape} instead of uint8 [H, W, 3]")
    if crop != "none":
        image = central_square(image)
    if image.shape[:2] != (size, size):
        # INTER_AREA averages pixels when shrinking; the other methods would alias
        filtering = cv2.INTER_AREA if min(image.shape[:2]) > size else cv2.INTER_CUBIC
        image = cv2.resize(image, (size, size), interpolation=filtering)
    return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, "RGB", subsampling(gray))


def subsampling(gray: bool) -> str:
    """Return how the colours of a JPEG are stored, as simplejpeg names it: at full size, or not at all."""
    return "Gray" if gray else "444"
