"""MNIST and USPS as folders of PNG files, as a user would lay them out. They are not part of the project."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.digit_files import Digits, read_mnist, read_usps
from tests.support.running import REPO

_DATA = REPO.parent / "shared" / "data"


def need(*names: str) -> Path:
    """The folder of the files; without it, skip the test that needs them."""
    for name in names:
        if not (_DATA / name).exists():
            pytest.skip(f"needs {name} in {_DATA}: public data that is not part of the project")
    return _DATA


def mnist(root: Path, each: int) -> Path:
    """`root/DIGIT/*.png`, 28 px, the first `each` of every digit of the training set."""
    return _folders(root, next(read_mnist(need("mnist/train-images-idx3-ubyte.gz"))), each)


def usps(root: Path, each: int) -> Path:
    """`root/DIGIT/*.png`, 16 px, the first `each` of every digit of the training set."""
    return _folders(root, next(read_usps(need("usps.h5"))), each)


def _folders(root: Path, split: Digits, each: int) -> Path:
    for digit in range(10):
        (root / str(digit)).mkdir(parents=True, exist_ok=True)
        for row in np.flatnonzero(split.digits == digit)[:each]:
            Image.fromarray(split.images[row]).save(root / str(digit) / f"{row}.png")
    return root
