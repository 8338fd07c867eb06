"""Read, crop, resize and encode every image of a data set on disk once, in chunks, on all cores.

The shard of an image depends on all images, so the JPEGs of a chunk are stored in a file until the shards are planned.
The files are kept until the shards are finished: an interrupted run resumes from them.
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
from job.datasets.image_search import Location
from job.shards.writing.crop import Crop, CropSettings
from job.shards.writing.encode import encode
from job.shards.writing.left_out import MAKE_ROOM
from job.shards.writing.photo import crop_photo
from job.system.errors import JobError
from job.system.files import atomic_path, writing
from job.system.processes import Pool
from job.system.progress import follow

_CHUNKS = 256  # tasks: enough to keep many cores busy
_MIN_CHUNK, _MAX_CHUNK = 16, 1000  # images
_LENGTH = struct.Struct("<Q")
_MAX_OPEN = 256  # files of JPEGs that a process keeps open


class JpegLocation(NamedTuple):
    """Where a converted image is: the number of its chunk, offset and length in the chunk's file, in bytes.

    `face` is the text of JSON with outline and landmarks of an aligned face, empty for other images.
    """

    chunk: int
    start: int
    length: int
    face: str = ""


class ConversionResult(NamedTuple):
    """The result of converting an image.

    `digest` (hex) is the digest of the file, None when it cannot be read; `reason` says why the image cannot be used;
    `no_face` says why face detection found no face, None when it found one or did not search.
    """

    digest: str | None
    reason: str | None
    no_face: str | None
    jpeg: JpegLocation | None


@dataclass
class _Chunk:
    """The results for many images, by columns, which pass between processes in half the time of rows."""

    digests: list[str | None] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)  # of the JPEGs in bytes, 0 without a JPEG
    reasons: dict[str, str] = field(
        default_factory=dict
    )  # by the index of the image in the chunk, as a string because JSON requires one
    no_face: dict[str, str] = field(default_factory=dict)  # reasons, likewise
    faces: dict[str, str] = field(default_factory=dict)  # JSON of aligned faces, likewise

    def fail(self, error: Exception) -> None:
        """Add an image that cannot be used."""
        self.reasons[str(len(self.lengths))] = reason_of(error)
        self.lengths.append(0)

    def rows(self, number: int) -> Iterator[ConversionResult]:
        """Yield the result of each image; `number` is the number of this chunk."""
        start = 0
        for i, (digest, length) in enumerate(zip(self.digests, self.lengths)):
            jpeg = JpegLocation(number, start, length, self.faces.get(str(i), "")) if length else None
            yield ConversionResult(digest, None if jpeg else self.reasons[str(i)], self.no_face.get(str(i)), jpeg)
            start += length


def convert(
    locations: Sequence[Location],
    size: int,
    quality: int,
    cropping: CropSettings,
    gray: bool,
    pool: Pool,
    scratch: Path,
    progress: bool,
) -> list[ConversionResult]:
    """Convert every image to the JPEG for its shard, in files below `scratch`; return results in the same order.

    Raises JobError when the files cannot be written. An image that cannot be used raises nothing: its result has the
    reason.
    """
    tasks = [(number, chunk, size, quality, cropping, gray, scratch) for number, chunk in enumerate(_chunks(locations))]
    finished = pool.run(convert_chunk, tasks)
    results = follow(finished, len(locations), lambda result: len(result[1].digests), "converting", progress)
    return [row for number, chunk in sorted(results, key=lambda result: result[0]) for row in chunk.rows(number)]


def digests(locations: Sequence[Location], pool: Pool, progress: bool) -> list[str | None]:
    """Return the digest (hex) of every file, None when it cannot be read, as `convert` does, without converting."""
    tasks = list(enumerate(_chunks(locations)))
    results = follow(
        pool.run(_digest_chunk, tasks), len(locations), lambda result: len(result[1]), "comparing", progress
    )
    return [digest for _, chunk in sorted(results, key=lambda result: result[0]) for digest in chunk]


def convert_chunk(
    number: int,
    locations: Sequence[Location],
    size: int,
    quality: int,
    cropping: CropSettings,
    gray: bool,
    scratch: Path,
) -> tuple[int, _Chunk]:
    """Convert one chunk, or load its file from an interrupted run; `number` is part of the name of the file.

    The file contains one JPEG after another, then the chunk as JSON, then the length of the JSON. It is not synced to
    the disk: a checksum detects a file that a power cut damaged.
    """
    jpegs = _jpegs(scratch, number)
    settings = (size, quality, *cropping.state, gray)
    chunk = _load_chunk(jpegs, locations, settings)
    if chunk is not None:
        return number, chunk
    chunk, stamps, crc = _Chunk(), [], 0
    with (
        writing(jpegs, f"{MAKE_ROOM}; finished images are kept"),
        atomic_path(jpegs) as partial,
        open(partial, "wb") as file,
    ):
        for group in fetch_in_groups(locations):
            encoded = b"".join(_convert(chunk, [content for content, _ in group], size, quality, cropping, gray))
            crc = zlib.crc32(encoded, crc)
            file.write(encoded)
            stamps += [file_stamp for _, file_stamp in group]
        check = {"state": _state(locations, stamps, settings), "crc": crc}
        trailer = json.dumps(check | vars(chunk)).encode()
        file.write(trailer + _LENGTH.pack(len(trailer)))
    return number, chunk


def read_stored(scratch: Path, locations: Iterable[JpegLocation]) -> Iterator[bytes]:
    """Yield the JPEGs at these locations. Raises OSError when one is missing."""
    files: dict[int, int] = {}  # number of the chunk -> file descriptor
    try:
        for number, start, length, _ in locations:
            file = files.get(number)
            if file is None:
                if len(files) == _MAX_OPEN:
                    os.close(files.pop(next(iter(files))))
                file = files[number] = os.open(_jpegs(scratch, number), os.O_RDONLY)
            jpeg = os.pread(file, length, start)
            if len(jpeg) != length:
                raise OSError(errno.EIO, f"{_jpegs(scratch, number)} is truncated")
            yield jpeg
    finally:
        for file in files.values():
            os.close(file)


def reason_of(error: Exception) -> str:
    """Return the message of an error in one line, without the path, which the caller prints."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _convert(
    chunk: _Chunk, contents: list[bytes | Exception], size: int, quality: int, cropping: CropSettings, gray: bool
) -> list[bytes]:
    """Return the JPEGs of the images that can be used, and add the result of every image to the chunk."""
    chunk.digests += map(_digest, contents)
    jpegs = []
    for content in contents:
        if isinstance(content, Exception):  # raising it again would keep all the contents in memory
            chunk.fail(content)
            continue
        try:
            (cropped,) = crop_photo(content, size, cropping)
            jpegs.append(encode(cropped.pixels, size, quality, cropping.kind, gray))
        except JobError:
            raise
        except Exception as error:  # libraries raise errors of many types for malformed files
            chunk.fail(error)
            continue
        row = str(len(chunk.lengths))
        if cropped.reason is not None:
            chunk.no_face[row] = cropped.reason
        if cropped.points:
            chunk.faces[row] = _face_json(cropped)
        chunk.lengths.append(len(jpegs[-1]))
    return jpegs


def _face_json(cropped: Crop) -> str:
    """Describe an aligned face for the sample's JSON; coordinates are shares of the image's edge."""
    return json.dumps({"outline": cropped.outline, "points": cropped.points})


def _digest(content: bytes | Exception) -> str | None:
    return None if isinstance(content, Exception) else hashlib.sha256(content).hexdigest()[:32]


def _digest_chunk(number: int, locations: Sequence[Location]) -> tuple[int, list[str | None]]:
    return number, [_digest(content) for group in fetch_in_groups(locations) for content, _ in group]


def _chunks(locations: Sequence[Location]) -> list[Sequence[Location]]:
    length = min(max(len(locations) // _CHUNKS, _MIN_CHUNK), _MAX_CHUNK)
    return [locations[first : first + length] for first in range(0, len(locations), length)]


def _jpegs(scratch: Path, number: int) -> Path:
    return scratch / f"images-{number:06d}.jpegs"


def _load_chunk(jpegs: Path, locations: Sequence[Location], settings: tuple) -> _Chunk | None:
    """Load a chunk of an interrupted run; None when there is none, it is damaged, or its images or settings changed."""
    try:
        content = jpegs.read_bytes()
        trailer_end = len(content) - _LENGTH.size
        end = trailer_end - _LENGTH.unpack_from(content, trailer_end)[0]
        trailer = json.loads(content[end:trailer_end])
        if trailer.pop("state") != _state(locations, map(stamp, locations), settings):
            return None
        intact = trailer.pop("crc") == zlib.crc32(memoryview(content)[:end])
        chunk = _Chunk(**trailer)
        return chunk if intact and end == sum(chunk.lengths) else None
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None  # not converted yet, or damaged


def _state(locations: Sequence[Location], stamps: Iterable[Stamp | None], settings: tuple) -> str:
    """Return a digest of everything that the JPEGs of a chunk depend on."""
    return hashlib.sha256(repr((settings, list(locations), list(stamps))).encode()).hexdigest()
