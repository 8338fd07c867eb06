"""Pixels to JPEG: one way for both domains, because any difference here would give the domain away (trap 7)."""

import cv2
import numpy as np
import simplejpeg


def encode(image: np.ndarray, size: int, quality: int) -> bytes:
    """The JPEG (4:4:4) of an RGB picture uint8 [H, W, 3]: its largest central square, resized to `size` pixels.

    Raises ValueError when the array is no such picture.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"the layout gave {image.dtype} {image.shape} instead of uint8 [H, W, 3]")
    edge = min(image.shape[:2])
    top, left = (image.shape[0] - edge) // 2, (image.shape[1] - edge) // 2
    image = image[top : top + edge, left : left + edge]
    if edge != size:
        # INTER_AREA averages what it shrinks; the others would alias
        filtering = cv2.INTER_AREA if edge > size else cv2.INTER_CUBIC
        image = cv2.resize(image, (size, size), interpolation=filtering)
    return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, "RGB", "444")
