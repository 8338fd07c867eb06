"""Decide which files of a folder are images, by their endings or, where they have none, by their first bytes.

Everything that Pillow and OpenCV can read as 8 or 16 bits is an image. HEIC and SVG, which neither reads, icons, and
the floating-point formats (HDR, EXR, PFM), whose range is not known, are not.
"""

import re
from pathlib import PurePosixPath

ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo"),
    *(".png", ".apng", ".webp", ".avif", ".avifs", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".qoi", ".psd"),
    *(".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".pcx", ".ras"),
)
_TOOL_FOLDERS = {
    *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot"),  # network disks
    *("__macosx", "network trash folder", "temporary items"),  # macOS
    *("$recycle.bin", "recycler", "system volume information", "found.000"),  # Windows
    *("lost+found", "__pycache__"),
}
_TOOL_FILES = {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"}
_LONGEST_ENDING = 8
SIGNATURE_BYTES = 32
_SIGNATURE = re.compile(
    rb"\xff\xd8\xff"  # JPEG
    rb"|\x89PNG\r\n\x1a\n"
    rb"|GIF8[79]a"
    rb"|II\*\0|MM\0\*"  # TIFF
    rb"|RIFF....WEBP"
    rb"|....ftypavi[fs]"
    rb"|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"  # JPEG 2000
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"  # BMP: its two letters alone would match text files
    rb"|P[1-6]\s[\s\d#]"  # PBM, PGM, PPM
    rb"|qoif|8BPS\0\x01",
    re.DOTALL,
)


def ending_of(name: str) -> str:
    """Return the ending in lower case with its dot, or "". One without letters (`KA.AN1.39`) is a number instead."""
    ending = PurePosixPath(name).suffix.lower()
    return ending if any(map(str.isalpha, ending)) else ""


def is_tool_folder(name: str) -> bool:
    """Return whether a folder is hidden or belongs to a program or file system: its images are copies or deleted."""
    return name.startswith(".") or name.casefold() in _TOOL_FOLDERS


def is_tool_file(name: str) -> bool:
    """Return whether a file is hidden (macOS writes `._x.jpg` beside x.jpg on foreign disks) or made by a viewer."""
    return name.startswith(".") or name.casefold() in _TOOL_FILES


def kind_of(name: str) -> str:
    """Describe a file that is not an image by its ending, for counts."""
    ending = ending_of(name)
    if not ending:
        return "files without an ending that hold no image"
    plain = len(ending) <= _LONGEST_ENDING and ending[1:].isascii() and ending[1:].isalnum()
    return f"files ending in {ending}" if plain else "files with other endings"


def is_image(start: bytes) -> bool:
    """Return whether a file starts with the signature of an image; `start` is its first SIGNATURE_BYTES bytes."""
    return _SIGNATURE.match(start) is not None
