"""Decode an image file of any format to upright RGB pixels, for shards of both domains and for predictions."""

import io
import warnings
from functools import cache

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageOps

from job.shards.jpeg_header import jpeg_header

MAX_PIXELS = 64_000_000  # 192 MB decoded; larger images are refused by their header
# Formats of photos. Pillow reads more, but would start Ghostscript for PostScript in a file of any name.
_FORMATS = (
    *("JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "QOI", "PSD", "PCX"),
    *("SUN", "ICO", "TGA"),
)
_BACKGROUND = (255, 255, 255, 255)  # white, behind transparent images
_USUAL = ("YCbCr", "Gray", "RGB")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableError(ValueError):
    """Raised for a file that is not a usable image; the message says why."""


def read_picture(content: bytes, reduction: int = 1) -> np.ndarray:
    """Decode an image to uint8 RGB [H, W, 3]: rotated by EXIF, 16 bits scaled to 8, white if transparent, first frame.

    A `reduction` of 2, 4 or 8 decodes an image that has a `jpeg_size` at 1 / reduction of its edges, rounded up. Colour
    profiles are not applied. Raises UnreadableError with the reason.
    """
    size = jpeg_size(content)
    if size is not None:
        return _read_jpeg(content, *size, reduction)
    try:
        with _open(content) as image:
            return _rgb(ImageOps.exif_transpose(image))
    except UnreadableError:
        raise
    except Exception as error:  # Pillow's plugins raise errors of many types for malformed files
        raise UnreadableError(_brief(error)) from None


def jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Return height and width, not rotated, of a JPEG in usual colours; None for any other file.

    libjpeg reads those faster, at a reduced size too, and reports damage that Pillow hides. Raises UnreadableError when
    it has too many pixels.
    """
    if content[:3] != b"\xff\xd8\xff":
        return None
    try:
        height, width, colours, _ = jpeg_header(content)
    except ValueError:
        return None
    _check_size(width, height)
    return (height, width) if colours in _USUAL else None


def _read_jpeg(content: bytes, height: int, width: int, reduction: int) -> np.ndarray:
    # these limits select the scale 1 / reduction alone: libjpeg-turbo has fast code for it, but not for 3 / 8 and so on
    least = {"min_height": -(-height // reduction), "min_width": -(-width // reduction), "min_factor": reduction}
    scale = least if reduction > 1 else {}
    try:
        pixels = simplejpeg.decode_jpeg(content, "RGB", **scale)
    except ValueError as error:
        if "extraneous bytes" not in str(error):  # many cameras write some; no pixel is lost
            raise UnreadableError(_brief(error)) from None
        pixels = simplejpeg.decode_jpeg(content, "RGB", strict=False, **scale)
    turn = _turn(content) if content.find(b"Exif\0\0", 0, 65536) >= 0 else None
    return pixels if turn is None else np.asarray(Image.fromarray(pixels).transpose(turn))


def _turn(content: bytes) -> Image.Transpose | None:
    """Return the rotation by the EXIF orientation; None when the image is upright or its EXIF is damaged."""
    try:
        with _open(content) as image:
            return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # only the metadata is damaged
        return None


def _open(content: bytes) -> Image.Image:
    """Open an image lazily: only the header is read. Raises UnreadableError."""
    if not content:
        raise UnreadableError("the file is empty")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own, lower limit of pixels, and odd metadata
        try:
            image = Image.open(io.BytesIO(content), formats=_formats())
        except Image.UnidentifiedImageError:
            raise UnreadableError("not an image of a known format") from None
        except Image.DecompressionBombError:
            raise UnreadableError(f"more than {MAX_PIXELS // 10**6} million pixels") from None
    _check_size(*image.size)
    return image


@cache
def _formats() -> list[str]:
    """Return those of _FORMATS that this build of Pillow supports."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableError(f"{width} x {height} pixels are more than {MAX_PIXELS // 10**6} million")


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise UnreadableError("floating-point pixels, whose range is not known")
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion would clip most values to white
        grey = np.clip(np.asarray(image, np.int64), 0, 65535)
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[:, :, None], 3, axis=2)
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, _BACKGROUND), image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:160] + "..."
