"""Read a tar in one pass: compute its sha256 and locate every member.

The headers of a plain tar are located block by block: every header starts at a multiple of 512 bytes and contains
"ustar", and the sizes must lead from each header to the next without a gap. A tar of any other kind (long names, global
headers) is read by the standard library, which takes 30 times as long.
"""

import hashlib
import tarfile
from typing import Any, NamedTuple

import numpy as np

from job.shards.manifest import WRITE_AGAIN
from job.shards.reading.shard_file import ShardFile
from job.system.errors import JobError, first_line

BLOCK = 512
NAME = 100  # bytes of the name in a header
SHORT = 32  # bytes of a member's content that are kept: enough for a label
_CHUNK = 2048  # blocks that are read, hashed and searched at a time: 1 MiB, which fits in the processor's cache
_USTAR = np.uint64(int.from_bytes(b"ustar", "little"))
_FIVE_BYTES = np.uint64(0xFFFFFFFFFF)


class Members(NamedTuple):
    """The n ordinary files of a tar, in their order."""

    names: np.ndarray  # bytes [n]
    offsets: np.ndarray  # int64 [n], of the content, in bytes
    sizes: np.ndarray  # int64 [n], bytes
    starts: np.ndarray  # uint8 [n, 32]: the first bytes from the start of the content, also past its end
    plain: bool  # whether the header right before the content has the whole name


def scan(file: ShardFile, sha256: str | None = None) -> Members:
    """Read a tar once and list its members.

    Raises JobError when it cannot be read, its sha256 is not `sha256` (if given), or it is damaged.
    """
    digest = None if sha256 is None else hashlib.sha256()
    headers, starts = _read_headers(file, digest)
    if digest is not None and digest.hexdigest() != sha256:
        raise JobError(
            f"shard {file.path}: its sha256 is not the manifest's, so it was changed after writing: {WRITE_AGAIN}"
        )
    return _plain_members(file, headers, starts) or _any_members(file)


class _Headers(NamedTuple):
    """Blocks that may be headers: their numbers int64 [n], and the relevant fields."""

    blocks: np.ndarray
    names: np.ndarray  # uint8 [n, 100]
    digits: np.ndarray  # uint8 [n, 11], of the size
    kinds: np.ndarray  # uint8 [n]
    prefixes: np.ndarray  # uint8 [n]: the first byte of the name's first part


def _read_headers(file: ShardFile, digest: Any) -> tuple[_Headers, np.ndarray]:
    """Return the blocks that contain "ustar", and the first bytes uint8 [n, 32] of the blocks that follow them."""
    size = file.identity.size
    rows = min(_CHUNK, -(-size // BLOCK))
    # One extra block: the last one of each chunk is searched with the next chunk, when the block after it is known.
    # And one block that stays zero, as the block after the last one of the file.
    buffer = np.zeros((rows + 2, BLOCK), np.uint8)
    bytes_of = memoryview(buffer.data).cast("B")
    magic = np.ndarray((rows + 1,), "<u8", buffer, 257, (BLOCK,))
    parts: list[tuple[np.ndarray, ...]] = []
    waiting = first = offset = 0  # blocks from the chunk before; number of the buffer's first block; bytes read
    while offset < size:
        length = min(rows * BLOCK, size - offset)
        chunk = bytes_of[waiting * BLOCK : waiting * BLOCK + length]
        file.read_into(chunk, offset)
        if digest is not None:
            digest.update(chunk)
        offset += length
        searched = waiting + length // BLOCK - (offset < size)
        found = np.flatnonzero((magic[:searched] & _FIVE_BYTES) == _USTAR)
        blocks = buffer[found]
        fields = blocks[:, :NAME], blocks[:, 124:135], blocks[:, 156], blocks[:, 345]
        parts.append((first + found, *fields, buffer[found + 1, :SHORT]))
        first, waiting = first + searched, 1
        buffer[0] = buffer[searched]
    columns = [np.concatenate(column) for column in zip(*parts)] if parts else _nothing()
    return _Headers(*columns[:5]), columns[5]


def _nothing() -> list[np.ndarray]:
    flat, wide = np.empty(0, np.int64), np.empty((0, NAME), np.uint8)
    return [flat, wide, wide[:, :11], flat, flat, wide[:, :SHORT]]


def _plain_members(file: ShardFile, headers: _Headers, starts: np.ndarray) -> Members | None:
    """Return the members of a tar if all are plain files, otherwise None."""
    count = len(headers.blocks)
    digits = headers.digits.astype(np.int64) - ord("0")
    kinds = headers.kinds
    special = (kinds != 0) & (kinds != ord("0")) | (headers.prefixes != 0)  # not a plain file, or a name in two parts
    if count == 0 or digits.min() < 0 or digits.max() > 7 or special.any():
        return None
    sizes = digits @ (8 ** np.arange(10, -1, -1))
    following = headers.blocks + 1 + -(-sizes // BLOCK)
    # the chain is broken if a block of an image contains "ustar", or if the archive was truncated
    if headers.blocks[0] != 0 or (following[:-1] != headers.blocks[1:]).any():
        return None
    if following[-1] > file.identity.size // BLOCK or not _empty_from(file, int(following[-1]) * BLOCK):
        return None
    names = np.ascontiguousarray(headers.names).view(f"S{NAME}").ravel()
    return Members(names, (headers.blocks + 1) * BLOCK, sizes, starts, plain=True)


def _empty_from(file: ShardFile, offset: int) -> bool:
    """Return whether all bytes from `offset` are zero, as at the end of every tar."""
    while offset < file.identity.size:
        length = min(_CHUNK * BLOCK, file.identity.size - offset)
        if any(file.read(offset, length)):
            return False
        offset += length
    return True


def _any_members(file: ShardFile) -> Members:
    """Return the members of a tar of any kind. Raises JobError when it is damaged."""
    try:
        with file.stream() as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            members = [member for member in tar.getmembers() if member.isfile()]
        for member in members:
            if member.issparse() or member.size < 0 or member.offset_data + member.size > file.identity.size:
                raise tarfile.ReadError(f"{member.name} is sparse or cut short")
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise JobError(f"shard {file.path} is damaged ({first_line(error)}): {WRITE_AGAIN}") from None
    names = [member.name.encode("utf-8", "surrogateescape") for member in members]
    offsets, sizes = (np.array([getattr(m, a) for m in members], np.int64) for a in ("offset_data", "size"))
    contents = (file.read(o, min(s, SHORT)).ljust(SHORT, b"\0") for o, s in zip(offsets.tolist(), sizes.tolist()))
    starts = np.frombuffer(b"".join(contents), np.uint8).reshape(-1, SHORT)
    return Members(np.array(names, np.bytes_), offsets, sizes, starts, plain=False)
