"""The members of a foreign tar: every one is read from where it lies, or known with the reason why it cannot be.

Links within the tar are followed. A tar to whose end another was joined (`cat a.tar b.tar`) is read to the end.
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
_BLOCKS = 2048  # read at once where zeros are expected


class Member(NamedTuple):
    """A file in a tar: where its bytes lie in the tar's file, and why they cannot be used, if they cannot."""

    name: str  # without "./" and leading slashes
    offset: int
    size: int
    problem: str | None = None


def read_parts(path: str, origin: str, notes: Notes) -> tuple[list[list[Member]], bool]:
    """The members of each archive in the file, in order: one, unless others were joined to it; and whether it is whole.

    Damage ends the last part and is noted as skipped. Raises JobError for a compressed file.
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
    except Exception as error:  # foreign headers make tarfile raise whatever it likes, and it is about this file
        notes.skip(origin, f"damaged: {brief(error)}")
        return parts, False
    return parts, True


def _read_part(file: BinaryIO, start: int, size: int, members: list[tarfile.TarInfo]) -> int | None:
    """Add the members of the archive that begins at `start`; the start of the next one, None where none follows.

    Raises TarError (or whatever tarfile raises) where it is damaged, after what is whole has been added.
    """
    file.seek(start)
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            end = member.offset_data + member.size
            if member.size < 0 or (member.isreg() and not member.issparse() and end > size):
                raise tarfile.ReadError(f"{member.name[:80]} is cut short")
            members.append(member)
        end = tar.offset
    # tarfile ends in silence where a tar was cut between two members
    file.seek(end)
    if file.read(_BLOCK) != bytes(_BLOCK):
        raise tarfile.ReadError("it was cut short, or has no end")
    return _next_content(file, end)


def _next_content(file: BinaryIO, start: int) -> int | None:
    """The first block from `start` that is not zeros; None where there is none."""
    file.seek(start)
    while chunk := file.read(_BLOCKS * _BLOCK):
        if chunk.strip(b"\0"):
            return start + (len(chunk) - len(chunk.lstrip(b"\0"))) // _BLOCK * _BLOCK
        start += len(chunk)
    return None


def _resolve(infos: list[tarfile.TarInfo]) -> list[Member]:
    """Members by their infos; folders have none."""
    by_name = {_plain(info.name): info for info in infos}
    members = []
    for info in infos:
        name, held = _plain(info.name), info
        for _ in range(_MOST_LINKS):
            if held is None or not (held.issym() or held.islnk()):
                break
            held = by_name.get(_target(held))
        if info.isdir() or (held is not None and held.isdir()):
            continue
        if held is None or held.issym() or held.islnk():
            members.append(Member(name, 0, 0, f"a link to {info.linkname[:80]}, which is not in the tar"))
        elif not held.isreg():
            members.append(Member(name, 0, 0, "not a plain file"))
        elif held.issparse():
            members.append(Member(name, 0, 0, "stored as a sparse file, in pieces: write the tar without --sparse"))
        else:
            members.append(Member(name, held.offset_data, held.size))
    return members


def _target(link: tarfile.TarInfo) -> str:
    """The name of the member that a link points to: a hard link from the root, a symbolic one from its own folder."""
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
        with suppress(tarfile.TarError):  # a member's name may begin as such a file does
            tarfile.TarInfo.frombuf(file.read(_BLOCK), "utf-8", "surrogateescape")
            file.seek(0)
            return
        raise JobError(f"{path} is compressed ({kind}): unpack it, its images are read from where they lie in the tar")
