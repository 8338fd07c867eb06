"""The header of a JPEG, whatever damage there is in it."""

import simplejpeg


def jpeg_header(jpeg: bytes | memoryview, strict: bool = True) -> tuple[int, int, str, str]:
    """Height, width, colours and their subsampling. Raises ValueError when it is damaged."""
    try:
        return simplejpeg.decode_jpeg_header(jpeg, strict=strict)
    except KeyError as error:  # a subsampling, or colours, that there are not
        raise ValueError(f"damaged header: {error} names nothing that JPEG has") from None
