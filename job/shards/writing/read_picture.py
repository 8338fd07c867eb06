"""Encoded image to upright RGB pixels, whatever the file is: the same for both domains, and for predictions."""

import io
import warnings
from functools import cache

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageOps

from job.shards.jpeg_header import jpeg_header

MOST_PIXELS = 64_000_000  # 192 MB decoded; more is refused from the header
# Formats of photos. Pillow knows more: it would start Ghostscript for a file that holds PostScript, whatever its name.
_FORMATS = (
    *("JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "QOI", "PSD", "PCX"),
    *("SUN", "ICO", "TGA"),
)
_BACKGROUND = (255, 255, 255, 255)  # behind transparent pictures
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
    """The file is no picture that can be used; the message says why."""


def read_picture(content: bytes) -> np.ndarray:
    """uint8 RGB [H, W, 3]: turned as EXIF says, 16 bits scaled to 8, laid on white where transparent, first frame.

    Colour profiles are not applied. Raises UnreadableError with the reason.
    """
    if _is_usual_jpeg(content):
        return _read_jpeg(content)
    try:
        with _open(content) as image:
            return _rgb(ImageOps.exif_transpose(image))
    except UnreadableError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever they like about foreign bytes
        raise UnreadableError(_brief(error)) from None


def _is_usual_jpeg(content: bytes) -> bool:
    """Whether it is a JPEG in usual colours: libjpeg alone reads them faster, and tells of damage that Pillow hides.

    Raises UnreadableError when it has too many pixels.
    """
    if content[:3] != b"\xff\xd8\xff":
        return False
    try:
        height, width, colours, _ = jpeg_header(content)
    except ValueError:
        return False
    _check_size(width, height)
    return colours in _USUAL


def _read_jpeg(content: bytes) -> np.ndarray:
    try:
        pixels = simplejpeg.decode_jpeg(content, "RGB")
    except ValueError as error:
        if "extraneous bytes" not in str(error):  # many cameras leave some, and nothing is lost by them
            raise UnreadableError(_brief(error)) from None
        pixels = simplejpeg.decode_jpeg(content, "RGB", strict=False)
    turn = _turn(content) if content.find(b"Exif\0\0", 0, 65536) >= 0 else None
    return pixels if turn is None else np.asarray(Image.fromarray(pixels).transpose(turn))


def _turn(content: bytes) -> Image.Transpose | None:
    """How to turn a picture upright, by its EXIF orientation; None for not at all, or where EXIF is damaged."""
    try:
        with _open(content) as image:
            return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # of metadata alone: the pixels are good
        return None


def _open(content: bytes) -> Image.Image:
    """A lazily opened image: only its header has been read."""
    if not content:
        raise UnreadableError("the file is empty")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own lower limit of pixels, and of odd metadata
        try:
            image = Image.open(io.BytesIO(content), formats=_formats())
        except Image.UnidentifiedImageError:
            raise UnreadableError("not an image of a known format") from None
        except Image.DecompressionBombError:
            raise UnreadableError(f"more than {MOST_PIXELS // 10**6} million pixels") from None
    _check_size(*image.size)
    return image


@cache
def _formats() -> list[str]:
    """Pillow's names of the formats that are read, as far as it was built with them."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise UnreadableError(f"{width} x {height} pixels are more than {MOST_PIXELS // 10**6} million")


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise UnreadableError("floating-point pixels, whose range is not known")
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion would clip them to white
        grey = np.clip(np.asarray(image, np.int64), 0, 65535)
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[:, :, None], 3, axis=2)
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, _BACKGROUND), image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:160] + "..."
