"""Read a shard from a memory map: where each image lies, what its label is, what it is called.

The headers of a plain tar are found all at once: every header starts on a multiple of 512 bytes and says "ustar", and
the sizes must lead from each to the next without a gap. A tar of any other kind (long names, global headers) goes
through the standard library, at 30 times the cost.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from job.shards.manifest import WRITE_AGAIN, ShardInfo, check_size
from job.system.errors import JobError, first_line
from job.vocabulary import UNLABELLED

_BLOCK = 512
_NAME = 100  # bytes of a header that hold the name
_IMAGES = (b".jpg", b".jpeg")


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """Where the images of a shard lie: offsets int64 [n] and sizes int32 [n] in bytes, labels int16 [n].

    A label is -1 where a sample has none, and everywhere unless labels were asked for: then the .cls members are not
    even looked at.
    """

    offsets: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    names: np.ndarray | None  # of the image members, bytes [n]; None where the header before the image has it whole


@dataclass(frozen=True, slots=True)
class Shard:
    """A mapped shard: `bytes` views the whole file, and outlives its deletion."""

    path: Path
    bytes: memoryview
    index: ShardIndex

    def jpeg(self, i: int) -> memoryview:
        """The bytes of image i, not copied."""
        start = self.index.offsets.item(i)
        return self.bytes[start : start + self.index.sizes.item(i)]

    def key(self, i: int) -> str:
        """The WebDataset key of image i, read when it is asked for: hardly anybody does."""
        if self.index.names is not None:
            return _key(self.index.names[i])
        header = self.index.offsets.item(i) - _BLOCK
        return _key(bytes(self.bytes[header : header + _NAME]).rstrip(b"\0"))


def open_shard(path: Path, info: ShardInfo, classes: int | None, index: ShardIndex | None = None) -> Shard:
    """Map a shard and find its images.

    `classes` is the number of classes where labels are to be read, or None where they must not be. `index` is what was
    found the last time, if it has been open before. Raises JobError, naming the shard, when its size or number of
    images is not the manifest's, it is damaged, or a label is missing or out of range.
    """
    check_size(path, info)
    # mmap.mmap would keep a file descriptor per shard and hit the usual limit of 1024; this closes it
    try:
        mapped = torch.from_file(str(path), shared=False, size=info.bytes, dtype=torch.uint8).numpy()
    except RuntimeError as error:
        raise JobError(f"cannot map shard {path} ({first_line(error)}): check the permissions") from None
    if index is None:
        index = _index(path, mapped, info, classes)
    return Shard(path, memoryview(mapped), index)


def member_names(shard: Shard) -> list[str]:
    """Every member of a shard, images or not."""
    names, _, _ = _plain_members(np.asarray(shard.bytes)) or _any_members(shard.path)
    return [name.decode("utf-8", "replace") for name in names.tolist()]


def members(shard: Shard) -> Iterator[tuple[str, bytes]]:
    """Name and content of every member that is not an image."""
    names, offsets, sizes = _plain_members(np.asarray(shard.bytes)) or _any_members(shard.path)
    for name, start, size in zip(names.tolist(), offsets.tolist(), sizes.tolist()):
        if not name.lower().endswith(_IMAGES):
            yield name.decode("utf-8", "replace"), bytes(shard.bytes[start : start + size])


def _index(path: Path, mapped: np.ndarray, info: ShardInfo, classes: int | None) -> ShardIndex:
    plain = _plain_members(mapped)
    names, offsets, sizes = plain or _any_members(path)
    images = np.flatnonzero(np.strings.endswith(names, _IMAGES[0]) | np.strings.endswith(names, _IMAGES[1]))
    if len(images) != info.samples:
        raise JobError(
            f"shard {path} holds {len(images)} images but the manifest says {info.samples}, so it is damaged: "
            + WRITE_AGAIN
        )
    if classes is None:
        labels = np.full(len(images), UNLABELLED, np.int16)
    else:
        labels = _labels(path, mapped, names, offsets, sizes, images, classes, whole=info.labels == info.samples)
        found = int((labels != UNLABELLED).sum())
        if found != info.labels:
            raise JobError(f"shard {path} holds {found} labels but the manifest says {info.labels}: {WRITE_AGAIN}")
    return ShardIndex(offsets[images], sizes[images].astype(np.int32), labels, None if plain else names[images])


def _plain_members(mapped: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Names bytes [n], offsets and sizes int64 [n] of a tar whose members are all plain files, else None."""
    blocks = len(mapped) // _BLOCK
    if blocks == 0:
        return None
    magic = np.ndarray((blocks,), "<u8", mapped, 257, (_BLOCK,)) & np.uint64(0xFFFFFFFFFF)
    found = np.flatnonzero(magic == np.uint64(int.from_bytes(b"ustar", "little")))
    grid = mapped[: blocks * _BLOCK].reshape(blocks, _BLOCK)
    digits = grid[:, 124:135][found].astype(np.int64) - ord("0")
    kinds, prefixes = grid[found, 156], grid[found, 345]
    special = (kinds != 0) & (kinds != ord("0")) | (prefixes != 0)  # not an ordinary file, or a name in two parts
    if len(found) == 0 or digits.min() < 0 or digits.max() > 7 or special.any():
        return None
    sizes = digits @ (8 ** np.arange(10, -1, -1))
    following = found + 1 + -(-sizes // _BLOCK)
    # a picture may hold "ustar" by chance, and a cut archive lacks a part: then the chain breaks
    if found[0] != 0 or (following[:-1] != found[1:]).any() or following[-1] > blocks:
        return None
    if mapped[following[-1] * _BLOCK :].any():
        return None
    names = grid[:, :_NAME][found].view(f"S{_NAME}").ravel()
    return names, (found + 1) * _BLOCK, sizes


def _any_members(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same of any tar. Raises JobError when it is damaged."""
    try:
        with tarfile.open(path, "r:") as tar:
            members = [member for member in tar.getmembers() if member.isfile()]
            for member in members:
                if member.offset_data + member.size > path.stat().st_size:
                    raise tarfile.ReadError(f"{member.name} is cut short")
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise JobError(f"shard {path} is damaged ({error}): {WRITE_AGAIN}") from None
    names = np.array([member.name.encode() for member in members], dtype=np.bytes_)
    return names, *(np.array([getattr(m, a) for m in members], np.int64) for a in ("offset_data", "size"))


def _labels(path, mapped, names, offsets, sizes, images, classes, whole: bool) -> np.ndarray:
    """The labels int16 [n] of the images: the .cls member has the image's name up to the first dot.

    `whole` says that every image must have one.
    """
    members = np.flatnonzero(np.strings.endswith(names, b".cls"))
    starts, ends = offsets[members], offsets[members] + sizes[members]
    texts = {
        _stem(name): mapped[start:end].tobytes()
        for name, start, end in zip(names[members].tolist(), starts.tolist(), ends.tolist())
    }
    labels = np.empty(len(images), np.int16)
    for row, name in enumerate(names[images].tolist()):
        text = texts.get(_stem(name))
        if text is None and not whole:
            labels[row] = UNLABELLED
            continue
        if text is None:
            raise JobError(f"shard {path}: {_key(name)} has no label (.cls): {WRITE_AGAIN}")
        if not text.isdigit() or int(text) >= classes:
            raise JobError(
                f"shard {path}: the label of {_key(name)} is {text[:20]!r}, not a number below {classes}: {WRITE_AGAIN}"
            )
        labels[row] = int(text)
    return labels


def _stem(name: bytes) -> bytes:
    """WebDataset's key of a member: its path up to the first dot of the file name."""
    dot = name.find(b".", name.rfind(b"/") + 1)
    return name if dot < 0 else name[:dot]


def _key(name: bytes) -> str:
    return _stem(name).decode("utf-8", "replace")
