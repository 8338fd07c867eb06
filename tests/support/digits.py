"""MNIST and USPS as folders of PNG files, as a user would lay them out. They are no part of the project."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.running import REPO

_DATA = REPO.parent / "shared" / "data"
_TREE = b"TREE\x01\x00"  # a node of an index of chunks (version 1), at the level of the chunks themselves
# rows, columns, edges of a chunk, and type of each data set in usps.h5; their chunks differ in size, hence are known
_USPS = {
    "train/data": ((7291, 256), (456, 16), np.float32),
    "train/target": ((7291,), (1823,), np.int32),
    "test/data": ((2007, 256), (126, 32), np.float32),
    "test/target": ((2007,), (2007,), np.int32),
}


def need(*names: str) -> list[Path]:
    """The files, or skip the test that asks for them."""
    paths = [_DATA / name for name in names]
    for path in paths:
        if not path.exists():
            pytest.skip(f"needs {path.name} in {path.parent}: public data that is not part of the project")
    return paths


def mnist(root: Path, each: int) -> Path:
    """`root/DIGIT/*.png`, 28 px, the first `each` of every digit of the training set."""
    images, labels = need("mnist/train-images-idx3-ubyte.gz", "mnist/train-labels-idx1-ubyte.gz")
    truth = np.frombuffer(gzip.decompress(labels.read_bytes()), np.uint8, offset=8)
    pixels = np.frombuffer(gzip.decompress(images.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)
    return _folders(root, pixels, truth, each)


def usps(root: Path, each: int) -> Path:
    """`root/DIGIT/*.png`, 16 px, the first `each` of every digit of the training set."""
    content = need("usps.h5")[0].read_bytes()
    pixels = (_read_chunks(content, "train/data").reshape(-1, 16, 16) * 255).round().astype(np.uint8)
    return _folders(root, pixels, _read_chunks(content, "train/target"), each)


def _folders(root: Path, pixels: np.ndarray, truth: np.ndarray, each: int) -> Path:
    for digit in range(10):
        (root / str(digit)).mkdir(parents=True, exist_ok=True)
        for row in np.flatnonzero(truth == digit)[:each]:
            Image.fromarray(pixels[row]).save(root / str(digit) / f"{row}.png")
    return root


def _read_chunks(content: bytes, name: str) -> np.ndarray:
    """One data set of an HDF5 file that consists of deflated chunks, without the HDF5 library."""
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
