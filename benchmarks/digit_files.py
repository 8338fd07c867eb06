"""MNIST and USPS as folders of PNG files, `ROOT/{train,test}/DIGIT/*.png`, from the files that are published.

`DATA/mnist/*-ubyte.gz` are the four original files, `DATA/usps.h5` is the file of the scikit-learn examples.
"""

import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

_TREE = b"TREE\x01\x00"  # a node of an index of chunks (version 1), at the level of the chunks themselves
# rows, columns, edges of a chunk, and type of each data set in usps.h5; their chunks differ in size, hence are known
_USPS = {
    "train/data": ((7291, 256), (456, 16), np.float32),
    "train/target": ((7291,), (1823,), np.int32),
    "test/data": ((2007, 256), (126, 32), np.float32),
    "test/target": ((2007,), (2007,), np.int32),
}
MNIST = {"train": "train", "test": "t10k"}


class Digits(NamedTuple):
    """Images uint8 [n, edge, edge] and digits [n] of a split."""

    split: str
    images: np.ndarray
    digits: np.ndarray


def read_mnist(data: Path) -> Iterator[Digits]:
    """Yield the training and the test split of MNIST, 28 px."""
    for split, name in MNIST.items():
        images, digits = (data / "mnist" / f"{name}-{part}-ubyte.gz" for part in ("images-idx3", "labels-idx1"))
        pixels = np.frombuffer(gzip.decompress(images.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)
        yield Digits(split, pixels, np.frombuffer(gzip.decompress(digits.read_bytes()), np.uint8, offset=8))


def read_usps(data: Path) -> Iterator[Digits]:
    """Yield the training and the test split of USPS, 16 px."""
    content = (data / "usps.h5").read_bytes()
    for split in ("train", "test"):
        pixels = (_read_chunks(content, f"{split}/data").reshape(-1, 16, 16) * 255).round().astype(np.uint8)
        yield Digits(split, pixels, _read_chunks(content, f"{split}/target"))


def write_folders(root: Path, splits: Iterator[Digits], most: int | None = None) -> Path:
    """Write PNG files, at most the first `most` of each digit and split. Returns `root`."""
    for split, images, digits in splits:
        for digit in range(10):
            folder = root / split / str(digit)
            folder.mkdir(parents=True, exist_ok=True)
            for row in np.flatnonzero(digits == digit)[:most]:
                Image.fromarray(images[row]).save(folder / f"{row}.png")
    return root


def _read_chunks(content: bytes, name: str) -> np.ndarray:
    """Read one data set of an HDF5 file that consists of deflated chunks, without the HDF5 library."""
    shape, chunk, kind = _USPS[name]
    array = np.full(shape, -1, kind)
    node = content.find(_TREE)
    while node >= 0:
        (used,) = struct.unpack_from("<H", content, node + 6)
        for entry in range(used):
            # size, filters, where the chunk begins in each dimension and in an element, address
            length, _, *where, address = struct.unpack_from(
                f"<II{len(shape) + 2}Q", content, _entry(node, entry, shape)
            )
            try:
                values = np.frombuffer(zlib.decompress(content[address : address + length]), kind)
                block = values.reshape(chunk)
            except (zlib.error, ValueError):  # of another data set
                break
            part = tuple(slice(first, first + edge) for first, edge in zip(where, chunk))
            target = array[part]
            target[:] = block[tuple(map(slice, target.shape))]
        node = content.find(_TREE, node + 1)
    assert (array >= 0).all(), f"usps.h5 lacks a part of {name}"
    return array


def _entry(node: int, number: int, shape: tuple[int, ...]) -> int:
    return node + 24 + number * (8 + 8 * (len(shape) + 1) + 8)
