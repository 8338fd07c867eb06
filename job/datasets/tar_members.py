"""List the members of a foreign tar, each with the position of its bytes or the reason why it cannot be read.

Links within the tar are followed. Concatenated tars (`cat a.tar b.tar`) are read to the end.
"""

import os
import posixpath
import tarfile
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from job.datasets.image_search import Notes
from job.system.errors import JobError
from job.system.secrets import brief

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}
_MOST_LINKS = 40
_BLOCK = tarfile.BLOCKSIZE
_BLOCKS = 2048  # read at once between concatenated tars, where zeros are expected


class Member(NamedTuple):
    """A file in a tar: position of its bytes in the tar, and the reason when they cannot be used."""

    name: str  # without "./" and leading slashes
    offset: int
    size: int
    problem: str | None = None


def read_parts(path: str, origin: str, notes: Notes) -> tuple[list[list[Member]], bool]:
    """Return the members of each archive in the file, in order, and whether the file is complete.

    Concatenated tars have several archives. Damage ends the last one and is noted as skipped. Raises JobError for a
    compressed file.
    """
    parts: list[list[Member]] = []
    try:
        with open(path, "rb") as file:
            _refuse_compressed(path, file)
            size = file.seek(0, os.SEEK_END)
            start: int | None = 0
            while start is not None:
                infos: list[tarfile.TarInfo] = []
                try:
                    start = _read_part(file, start, size, infos)
                finally:
                    parts.append(_resolve(infos))
    except JobError:
        raise
    except Exception as error:  # tarfile raises errors of many types for malformed headers
        notes.skip(origin, f"damaged: {brief(error)}")
        return parts, False
    return parts, True


def _read_part(file: BinaryIO, start: int, size: int, members: list[tarfile.TarInfo]) -> int | None:
    """Add the members of the archive at `start`; return the start of the next archive, None after the last.

    Raises TarError, or any other error of tarfile, when it is damaged, after adding the intact members.
    """
    file.seek(start)
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            end = member.offset_data + member.size
            if member.size < 0 or (member.isreg() and not member.issparse() and end > size):
                raise tarfile.ReadError(f"{member.name[:80]} is truncated")
            members.append(member)
        end = tar.offset
    # tarfile reports no error when a tar is truncated between two members
    file.seek(end)
    if file.read(_BLOCK) != bytes(_BLOCK):
        raise tarfile.ReadError("it is truncated, or has no end marker")
    return _next_content(file, end)


def _next_content(file: BinaryIO, start: int) -> int | None:
    """Return the offset of the first block from `start` that is not all zeros, None without one."""
    file.seek(start)
    while chunk := file.read(_BLOCKS * _BLOCK):
        if chunk.strip(b"\0"):
            return start + (len(chunk) - len(chunk.lstrip(b"\0"))) // _BLOCK * _BLOCK
        start += len(chunk)
    return None


def _resolve(infos: list[tarfile.TarInfo]) -> list[Member]:
    """Return the members without folders, with links resolved to the files they point to."""
    by_name = {_plain(info.name): info for info in infos}
    members = []
    for info in infos:
        name, file = _plain(info.name), info
        for _ in range(_MOST_LINKS):
            if file is None or not (file.issym() or file.islnk()):
                break
            file = by_name.get(_target(file))
        if info.isdir() or (file is not None and file.isdir()):
            continue
        if file is None or file.issym() or file.islnk():
            members.append(Member(name, 0, 0, f"a link to {info.linkname[:80]}, which is not in the tar"))
        elif not file.isreg():
            members.append(Member(name, 0, 0, "not a plain file"))
        elif file.issparse():
            members.append(Member(name, 0, 0, "stored as a sparse file, in pieces: write the tar without --sparse"))
        else:
            members.append(Member(name, file.offset_data, file.size))
    return members


def _target(link: tarfile.TarInfo) -> str:
    """Return the member that a link points to: hard links are relative to the root, symbolic ones to their folder."""
    if link.islnk():
        return _plain(link.linkname)
    return _plain(posixpath.join(posixpath.dirname(_plain(link.name)), link.linkname))


def _plain(name: str) -> str:
    return posixpath.normpath(name).lstrip("/")


def _refuse_compressed(path: str, file: BinaryIO) -> None:
    start = file.read(8)
    file.seek(0)
    kind = next((kind for magic, kind in _COMPRESSED.items() if start.startswith(magic)), None)
    if kind is not None:
        with suppress(tarfile.TarError):  # the name of a first member may start with these bytes
            tarfile.TarInfo.frombuf(file.read(_BLOCK), "utf-8", "surrogateescape")
            file.seek(0)
            return
        raise JobError(f"{path} is compressed ({kind}): decompress it, because images are read in place from the tar")
