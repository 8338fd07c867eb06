"""Every image of a data set on disk, once: read, looked at, cropped, resized and encoded, in chunks on all cores.

Which shard an image goes to depends on all of them, so the JPEGs of a chunk wait in a file for the shards to be
planned. They are kept until the shards are finished: a run that was killed goes on where it was.
"""

import errno
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from job.datasets.image_bytes import Stamp, fetch_in_groups, stamp
from job.datasets.image_search import Place
from job.shards.writing.crop import crop_to, find_face
from job.shards.writing.encode import encode
from job.shards.writing.left_out import MAKE_ROOM
from job.shards.writing.read_picture import read_picture
from job.system.errors import JobError
from job.system.files import atomic_path, writing
from job.system.processes import Pool
from job.system.progress import follow

_CHUNKS, _LEAST, _MOST = 256, 16, 1000  # as many tasks as keep many cores busy, of so many images each
_LENGTH = struct.Struct("<Q")
_OPEN = 256  # files that a process keeps open to read JPEGs from

Stored = tuple[int, int, int]  # a JPEG within a chunk's file: the number of the chunk, and where in bytes


class Converted(NamedTuple):
    """What became of an image.

    `digest` (hex) is that of the file, None where it cannot be read; `reason` says why it cannot be used; `face` is
    False where one was looked for in vain.
    """

    digest: str | None
    reason: str | None
    face: bool
    jpeg: Stored | None


@dataclass
class _Chunk:
    """The same of many images, by columns, which travel between processes in half the time."""

    digests: list[str | None] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)  # of the JPEGs in bytes, 0 where there is none
    reasons: dict[str, str] = field(default_factory=dict)  # by the image's place in the chunk, as JSON wants it
    faceless: list[int] = field(default_factory=list)  # places

    def fail(self, error: Exception) -> None:
        """The next image gives no JPEG, for this reason."""
        self.reasons[str(len(self.lengths))] = why(error)
        self.lengths.append(0)

    def rows(self, number: int) -> Iterator[Converted]:
        """Image by image, of the chunk of this number."""
        faceless, end = set(self.faceless), 0
        for i, (digest, length) in enumerate(zip(self.digests, self.lengths)):
            jpeg = (number, end, length) if length else None
            yield Converted(digest, None if jpeg else self.reasons[str(i)], i not in faceless, jpeg)
            end += length


def convert(
    places: Sequence[Place], size: int, quality: int, crop: str, pool: Pool, scratch: Path, progress: bool
) -> list[Converted]:
    """Make a JPEG of every image, as the shards will hold it, in files below `scratch`; results in the same order.

    Raises JobError when those cannot be written. An image that cannot be used raises nothing: its result says why.
    """
    tasks = [(number, chunk, size, quality, crop, scratch) for number, chunk in enumerate(_chunks(places))]
    finished = pool.run(convert_chunk, tasks)
    results = follow(finished, len(places), lambda result: len(result[1].digests), "converting", progress)
    return [one for number, chunk in sorted(results, key=lambda result: result[0]) for one in chunk.rows(number)]


def digests(places: Sequence[Place], pool: Pool, progress: bool) -> list[str | None]:
    """The digest (hex) of every file, None where it cannot be read: what `convert` says of them, without the work."""
    tasks = list(enumerate(_chunks(places)))
    results = follow(pool.run(_digest_chunk, tasks), len(places), lambda result: len(result[1]), "comparing", progress)
    return [digest for _, chunk in sorted(results, key=lambda result: result[0]) for digest in chunk]


def convert_chunk(
    number: int, places: Sequence[Place], size: int, quality: int, crop: str, scratch: Path
) -> tuple[int, _Chunk]:
    """The task of one process: `number` names the chunk's file. Takes what an interrupted run has left there.

    The file holds one JPEG after another, then what is known of them as JSON, then the length of that. The disk is not
    waited for: what a power cut leaves of it is told by the checksum.
    """
    jpegs = _jpegs(scratch, number)
    chunk = _known(jpegs, places, (size, quality, crop))
    if chunk is not None:
        return number, chunk
    chunk, stamps, crc = _Chunk(), [], 0
    with (
        writing(jpegs, f"{MAKE_ROOM}; what is finished is kept"),
        atomic_path(jpegs) as partial,
        open(partial, "wb") as file,
    ):
        for group in fetch_in_groups(places):
            made = b"".join(_convert(chunk, [content for content, _ in group], size, quality, crop))
            crc = zlib.crc32(made, crc)
            file.write(made)
            stamps += [stamped for _, stamped in group]
        about = {"state": _state(places, stamps, (size, quality, crop)), "crc": crc}
        facts = json.dumps(about | vars(chunk)).encode()
        file.write(facts + _LENGTH.pack(len(facts)))
    return number, chunk


def read_stored(scratch: Path, places: Iterable[Stored]) -> Iterator[bytes]:
    """The JPEGs at these places. Raises OSError when one is not there."""
    opened: dict[int, int] = {}
    try:
        for number, start, length in places:
            file = opened.get(number)
            if file is None:
                if len(opened) == _OPEN:
                    os.close(opened.pop(next(iter(opened))))
                file = opened[number] = os.open(_jpegs(scratch, number), os.O_RDONLY)
            jpeg = os.pread(file, length, start)
            if len(jpeg) != length:
                raise OSError(errno.EIO, f"{_jpegs(scratch, number)} was cut short")
            yield jpeg
    finally:
        for file in opened.values():
            os.close(file)


def why(error: Exception) -> str:
    """An error about a file as a reason of one line, without the path that stands beside it anyway."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _convert(chunk: _Chunk, contents: list[bytes | Exception], size: int, quality: int, crop: str) -> list[bytes]:
    """The JPEGs of those images that give one; what became of each is added to the chunk."""
    chunk.digests += map(_digest, contents)
    jpegs = []
    for content in contents:
        if isinstance(content, Exception):  # raised again, it would hold on to all the contents
            chunk.fail(content)
            continue
        try:
            picture = read_picture(content)
            box = find_face(picture) if crop == "face" else None
            jpegs.append(encode(crop_to(picture, box), size, quality, crop))
        except JobError:
            raise
        except Exception as error:  # a foreign file makes libraries raise whatever they like, and it is about this file
            chunk.fail(error)
            continue
        if crop == "face" and box is None:
            chunk.faceless.append(len(chunk.lengths))
        chunk.lengths.append(len(jpegs[-1]))
    return jpegs


def _digest(content: bytes | Exception) -> str | None:
    return None if isinstance(content, Exception) else hashlib.sha256(content).hexdigest()[:32]


def _digest_chunk(number: int, places: Sequence[Place]) -> tuple[int, list[str | None]]:
    return number, [_digest(content) for group in fetch_in_groups(places) for content, _ in group]


def _chunks(places: Sequence[Place]) -> list[Sequence[Place]]:
    length = min(max(len(places) // _CHUNKS, _LEAST), _MOST)
    return [places[first : first + length] for first in range(0, len(places), length)]


def _jpegs(scratch: Path, number: int) -> Path:
    return scratch / f"images-{number:06d}.jpegs"


def _known(jpegs: Path, places: Sequence[Place], settings: tuple) -> _Chunk | None:
    """What an interrupted run knew of a chunk, if nothing has changed since."""
    try:
        content = jpegs.read_bytes()
        facts_end = len(content) - _LENGTH.size
        end = facts_end - _LENGTH.unpack_from(content, facts_end)[0]
        held = json.loads(content[end:facts_end])
        if held.pop("state") != _state(places, map(stamp, places), settings):
            return None
        whole = held.pop("crc") == zlib.crc32(memoryview(content)[:end])
        chunk = _Chunk(**held)
        return chunk if whole and end == sum(chunk.lengths) else None
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None  # not converted yet, or damaged


def _state(places: Sequence[Place], stamps: Iterable[Stamp | None], settings: tuple) -> str:
    """What the JPEGs of a chunk depend on."""
    return hashlib.sha256(repr((settings, list(places), list(stamps))).encode()).hexdigest()
