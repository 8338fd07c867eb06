"""Read the header of a JPEG, which may be damaged."""

import simplejpeg


def jpeg_header(jpeg: bytes | memoryview, strict: bool = True) -> tuple[int, int, str, str]:
    """Return height, width, colour space and subsampling. Raises ValueError when the header is damaged."""
    try:
        return simplejpeg.decode_jpeg_header(jpeg, strict=strict)
    except KeyError as error:  # an undefined subsampling or colour space
        raise ValueError(f"damaged header: {error} is not defined in JPEG") from None
