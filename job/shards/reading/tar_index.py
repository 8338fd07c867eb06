"""Index a shard: the position, label and name of each image."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from job.shards.manifest import WRITE_AGAIN, ShardInfo, check_size
from job.shards.reading.shard_file import ShardFile
from job.shards.reading.tar_scan import BLOCK, NAME, SHORT, Members, scan
from job.system.errors import JobError
from job.vocabulary import UNLABELLED

_IMAGES = (b".jpg", b".jpeg")
_MOST_BYTES = 2**31 - 1  # of an image


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """The images of a shard: offsets int64 [n] and sizes int32 [n] in bytes, labels int16 [n].

    The label of a sample without one is -1. Unless labels were requested, all labels are -1 and the .cls members are
    not read.
    """

    offsets: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    names: np.ndarray | None  # of the image members, bytes [n]; None if the header before each image has the whole name


@dataclass(frozen=True, slots=True)
class Shard:
    """An open shard and its index; it stays readable after its file is deleted."""

    file: ShardFile
    index: ShardIndex

    @property
    def path(self) -> Path:
        return self.file.path

    def jpeg(self, i: int) -> bytes:
        """Return the bytes of image i. Raises JobError when they cannot be read."""
        return self.file.read(self.index.offsets.item(i), self.index.sizes.item(i))

    def key(self, i: int) -> str:
        """Return the WebDataset key of image i; it is read on demand because it is rarely needed."""
        if self.index.names is not None:
            return _key(self.index.names[i])
        return _key(self.file.read(self.index.offsets.item(i) - BLOCK, NAME).rstrip(b"\0"))


def open_shard(path: Path, info: ShardInfo, classes: int | None, verify: bool = False) -> Shard:
    """Open a shard and index its images; see `open_file` and `read_index`."""
    file = open_file(path, info)
    return Shard(file, read_index(file, info, classes, verify))


def open_file(path: Path, info: ShardInfo) -> ShardFile:
    """Open the file of a shard. Raises JobError when it is missing, not a regular file, or not of the manifest's size.

    Raises OSError when this process has too many files open.
    """
    check_size(path, info)
    file = ShardFile(path)
    if file.identity.size != info.bytes:  # replaced between the check and the opening
        check_size(path, info)
    return file


def read_index(file: ShardFile, info: ShardInfo, classes: int | None, verify: bool = False) -> ShardIndex:
    """Index the images of a shard; with `verify`, compare its sha256 with the manifest's in the same pass.

    `classes` is the number of classes if labels are to be read, or None if they must not be read. Raises JobError,
    naming the shard, when its sha256, number of images or class counts are not the manifest's, it is damaged, or a
    label is missing or out of range.
    """
    members = scan(file, info.sha256 if verify else None)
    names = members.names
    images = np.flatnonzero(np.strings.endswith(names, _IMAGES[0]) | np.strings.endswith(names, _IMAGES[1]))
    if len(images) != info.samples:
        raise JobError(
            f"shard {file.path} holds {len(images)} images but the manifest says {info.samples}, so it is damaged: "
            + WRITE_AGAIN
        )
    if members.sizes[images].max(initial=0) > _MOST_BYTES:
        raise JobError(f"shard {file.path} holds an image of more than {_MOST_BYTES} bytes: {WRITE_AGAIN}")
    if classes is None:
        labels = np.full(len(images), UNLABELLED, np.int16)
    else:
        labels = _labels(file.path, members, images, classes, whole=info.labels == info.samples)
        _check_counts(file.path, labels, info, classes)
    image_names = None if members.plain else names[images]
    return ShardIndex(members.offsets[images], members.sizes[images].astype(np.int32), labels, image_names)


def member_names(shard: Shard) -> list[str]:
    """Return the names of all members of a shard, images or not."""
    return [name.decode("utf-8", "replace") for name in scan(shard.file).names.tolist()]


def members(shard: Shard) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every member that is not an image."""
    found = scan(shard.file)
    for name, start, size in zip(found.names.tolist(), found.offsets.tolist(), found.sizes.tolist()):
        if not name.lower().endswith(_IMAGES):
            yield name.decode("utf-8", "replace"), shard.file.read(start, size)


def _labels(path: Path, members: Members, images: np.ndarray, classes: int, whole: bool) -> np.ndarray:
    """Read the labels int16 [n] of the images: the .cls member has the image's name up to the first dot.

    With `whole`, every image must have a label.
    """
    texts = {
        _stem(members.names[i]): members.starts[i, : members.sizes[i]].tobytes()
        for i in np.flatnonzero(np.strings.endswith(members.names, b".cls")).tolist()
    }
    labels = np.empty(len(images), np.int16)
    for row, name in enumerate(members.names[images].tolist()):
        text = texts.get(_stem(name))
        if text is None and not whole:
            labels[row] = UNLABELLED
            continue
        if text is None:
            raise JobError(f"shard {path}: {_key(name)} has no label (.cls): {WRITE_AGAIN}")
        if len(text) == SHORT or not text.isdigit() or int(text) >= classes:
            raise JobError(
                f"shard {path}: the label of {_key(name)} is {text[:20]!r}, not a number below {classes}: {WRITE_AGAIN}"
            )
        labels[row] = int(text)
    return labels


def _check_counts(path: Path, labels: np.ndarray, info: ShardInfo, classes: int) -> None:
    counts = tuple(np.bincount(labels[labels != UNLABELLED], minlength=classes).tolist())
    if info.class_counts is not None and counts != info.class_counts:
        raise JobError(
            f"shard {path} holds {list(counts)} samples of the classes but the manifest says "
            f"{list(info.class_counts)}: {WRITE_AGAIN}"
        )


def _stem(name: bytes) -> bytes:
    """Return WebDataset's key of a member: its path up to the first dot of the file name."""
    dot = name.find(b".", name.rfind(b"/") + 1)
    return name if dot < 0 else name[:dot]


def _key(name: bytes) -> str:
    return _stem(name).decode("utf-8", "replace")
