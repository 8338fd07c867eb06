"""Read MNIST (source) and make MNIST-M (target), the first experiment of Ganin et al. 2016, sec. 5.2.4.

MNIST-M is made as the paper describes: the absolute difference of a random colour patch and the digit. It is a
re-creation, not the file that the authors released; state this with every result. The root contains

    mnist/train-images-idx3-ubyte[.gz]  train-labels-idx1-ubyte[.gz]  t10k-images-...  t10k-labels-...
    photos/*.jpg                        any colour photos of 28 x 28 pixels or more; the paper used BSDS500

Test images use a fifth of the photos, training and validation the others.
"""

import gzip
import math
import struct
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import simplejpeg

from job.datasets.layout import Layout, Record
from job.system.errors import JobError
from job.system.random_numbers import mix, permutation, spread, uniform
from job.vocabulary import SOURCE, TARGET

EDGE = 28
_FILES = {"train": "train", "test": "t10k"}


def records(
    root: str, seed: int, *, val: int = 5000, train: int | None = None, test: int | None = None
) -> list[Record]:
    """List every digit twice, as MNIST and as MNIST-M.

    `val` is the number of training digits, counted from the end of the 60,000, that become the validation split;
    `train` and `test` limit the other splits. Raises JobError for missing or damaged files and numbers out of range.
    """
    folder = Path(root)
    labels = {part: _read_idx(_idx_file(folder, f"{name}-labels-idx1-ubyte"), 1) for part, name in _FILES.items()}
    for part, name in _FILES.items():
        images = _read_idx(_idx_file(folder, f"{name}-images-idx3-ubyte"), 3)
        if images.shape != (len(labels[part]), EDGE, EDGE):
            raise JobError(
                f"{folder}/mnist: {name} has images {images.shape} for {len(labels[part])} labels: "
                "download the four original files again"
            )
    kept = len(labels["train"]) - val
    for option, value, most in (
        ("val", val, len(labels["train"]) - 1),
        ("train", train, kept),
        ("test", test, len(labels["test"])),
    ):
        if value is not None and not 1 <= value <= most:
            raise JobError(f"layout mnist-m: option {option}={value} must be between 1 and {most}")
    spans = {
        "train": ("train", range(train or kept)),
        "val": ("train", range(kept, kept + val)),
        "test": ("test", range(test or len(labels["test"]))),
    }
    photos = _share_photos(folder, seed)
    result = []
    for split, (part, span) in spans.items():
        images = _idx_file(folder, f"{_FILES[part]}-images-idx3-ubyte")
        backgrounds = photos[split]
        draws = uniform(mix(seed, "mnist-m", part), spread(np.arange(3 * span.stop))).reshape(-1, 3)
        for index in span:
            subject, label = f"{part}-{index:05d}", int(labels[part][index])
            digit = f"{images.relative_to(folder)}#{index}"
            pick, down, right = draws[index].tolist()
            photo = backgrounds[int(pick * len(backgrounds))]
            result.append(Record(subject, SOURCE, split, label, subject, digit, (str(images), index, None, 0.0, 0.0)))
            result.append(
                Record(
                    subject,
                    TARGET,
                    split,
                    label,
                    subject,
                    f"{digit} on {photo.relative_to(folder)}",
                    (str(images), index, str(photo), down, right),
                )
            )
    return result


def read(record: Record, size: int) -> np.ndarray:
    """Return the image of a record, uint8 [28, 28, 3]; `size` is ignored, because the writer resizes."""
    images, index, photo, down, right = record.payload
    digit = np.repeat(_read_idx(Path(images), 3)[index][:, :, None], 3, axis=2)
    if photo is None:
        return digit
    return blend(_patch(_read_photo(photo), down, right), digit)


def blend(patch: np.ndarray, digit: np.ndarray) -> np.ndarray:
    """Return |patch - digit| per channel; all are uint8 [28, 28, 3]."""
    return np.abs(patch.astype(np.int16) - digit.astype(np.int16)).astype(np.uint8)


def _patch(photo: np.ndarray, down: float, right: float) -> np.ndarray:
    """Return the 28 x 28 patch whose corner is at these fractions, in [0, 1), of all possible positions."""
    top = int(down * (photo.shape[0] - EDGE + 1))
    left = int(right * (photo.shape[1] - EDGE + 1))
    return photo[top : top + EDGE, left : left + EDGE]


def _share_photos(folder: Path, seed: int) -> dict[str, list[Path]]:
    """Assign photos to splits: a seeded fifth to test, the others to train and val."""
    photos = sorted((folder / "photos").glob("*.jpg"))
    if len(photos) < 2:
        raise JobError(f"{folder}/photos has {len(photos)} .jpg files: put 2 or more colour photos there (BSDS500's)")
    shuffled = [photos[i] for i in permutation(mix(seed, "photos"), len(photos))]
    test_photos = max(1, len(photos) // 5)
    return {"train": shuffled[test_photos:], "val": shuffled[test_photos:], "test": shuffled[:test_photos]}


def _idx_file(folder: Path, name: str) -> Path:
    for path in (folder / "mnist" / name, folder / "mnist" / f"{name}.gz"):
        if path.is_file():
            return path
    raise JobError(
        f"{folder}/mnist/{name}[.gz] is missing: --root needs mnist/ with the four original idx files, and photos/"
    )


@lru_cache(maxsize=4)
def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read an idx file: two zero bytes, type 8 (uint8), the number of dimensions, their sizes, the values."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise JobError(f"cannot read {path} ({error}): download the file again") from None
    head = 4 + 4 * dimensions
    shape = ()
    if content[:4] == bytes((0, 0, 8, dimensions)) and len(content) >= head:
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
    if not shape or len(content) != head + math.prod(shape):
        raise JobError(
            f"{path} is not an idx file of {dimensions} dimensions, or is truncated: download the file again"
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


@lru_cache(maxsize=512)
def _read_photo(path: str) -> np.ndarray:
    try:
        photo = simplejpeg.decode_jpeg(Path(path).read_bytes(), "RGB", strict=False)
    except (OSError, ValueError) as error:
        raise JobError(f"cannot read {path} ({error}): replace or remove it") from None
    if min(photo.shape[:2]) < EDGE:
        raise JobError(f"{path} is smaller than {EDGE} x {EDGE} pixels: replace or remove it")
    return photo


LAYOUT = Layout(
    name="mnist-m",
    class_names=tuple("0123456789"),
    records=records,
    read=read,
    options={"val": 5000, "train": None, "test": None},
    numbers=("train", "test"),
    size=EDGE,
)
