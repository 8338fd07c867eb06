"""MNIST-M as the paper makes it, from idx files and photos."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from job.datasets import mnist_m as digits
from job.shards.writing.write_shards import write_shards
from job.system.errors import JobError

REAL = Path(__file__).parents[3] / "shared" / "data"


def idx(array):
    return struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def root(tmp_path):
    """40 + 12 digits, half of the files gzipped, and 10 photos of one colour each."""
    rng = np.random.default_rng(0)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "photos").mkdir()
    for name, count in (("train", 40), ("t10k", 12)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        (tmp_path / "mnist" / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / "mnist" / f"{name}-labels-idx1-ubyte").write_bytes(idx(np.arange(count, dtype=np.uint8) % 10))
    for i in range(10):
        photo = np.full((40, 60, 3), (20 * i, 100, 255 - 20 * i), np.uint8)
        (tmp_path / "photos" / f"{i}.jpg").write_bytes(simplejpeg.encode_jpeg(photo, 100, "RGB", "444"))
    return tmp_path


def listed(root, seed=0, **options):
    return digits.records(str(root), seed, **{"val": 8, **options})


def photo_of(record):
    return record.origin.split(" on ")[1]


def test_the_formula():
    patch = np.array([[[10, 200, 128]]], np.uint8)
    digit = np.array([[[255, 0, 130]]], np.uint8)
    assert digits.blend(patch, digit).tolist() == [[[245, 200, 2]]]


def test_splits_and_subjects(root):
    records = listed(root)
    for domain in ("source", "target"):
        splits = [r.split for r in records if r.domain == domain]
        sizes = {split: splits.count(split) for split in ("train", "val", "test")}
        assert sizes == {"train": 32, "val": 8, "test": 12}
    subjects = {(r.domain, r.subject): r.split for r in records}
    assert len(subjects) == len(records)
    assert all(r.label == int(r.subject[-5:]) % 10 for r in records)
    limited = listed(root, train=5, test=3)
    assert sum(r.split == "train" for r in limited) == 10
    assert sum(r.split == "test" for r in limited) == 6


def test_the_last_training_digits_become_val(root):
    val = [r for r in listed(root) if r.split == "val" and r.domain == "source"]
    assert [r.origin for r in val] == [f"mnist/train-images-idx3-ubyte.gz#{i}" for i in range(32, 40)]


def test_pictures(root):
    images = digits._read_idx(root / "mnist" / "train-images-idx3-ubyte.gz", 3)
    for record in listed(root):
        picture = digits.read(record, 28)
        assert picture.shape == (28, 28, 3)
        if record.split == "test":
            continue
        digit = images[int(record.subject[-5:])]
        if record.domain == "source":
            assert np.array_equal(picture, np.repeat(digit[:, :, None], 3, 2))
        else:
            number = int(photo_of(record).split("/")[1].split(".")[0])
            colour = np.array([20 * number, 100, 255 - 20 * number])
            assert np.abs(picture - np.abs(colour - digit[:, :, None].astype(int))).max() <= 2


def test_test_images_have_photos_of_their_own(root):
    used = {
        split: {photo_of(r) for r in listed(root) if r.domain == "target" and r.split == split}
        for split in ("train", "val", "test")
    }
    assert not used["test"] & (used["train"] | used["val"])
    assert len(used["test"]) == 2
    assert len(used["train"]) > 5


def test_a_background_depends_on_seed_and_index_only(root):
    whole = {r.key: r for r in listed(root) if r.domain == "target"}
    for record in listed(root, train=5, test=3):
        if record.domain == "target":
            assert record == whole[record.key]
    assert any(r.origin != whole[r.key].origin for r in listed(root, seed=1) if r.domain == "target")


def test_patches_reach_every_edge():
    photo = np.zeros((30, 29, 3), np.uint8)
    photo[2:, 1:] = 9
    assert (digits._patch(photo, 0.999, 0.999) == 9).all()
    assert digits._patch(photo, 0.0, 0.0).shape == (28, 28, 3)


def damage_within(path):
    """Write a gzip file with a valid header and end, and a damaged middle."""
    whole = bytearray(path.read_bytes())
    whole[10:40] = bytes([255] * 30)
    path.write_bytes(whole)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda root: (root / "mnist/t10k-labels-idx1-ubyte").unlink(), r"t10k-labels-idx1-ubyte\[\.gz\] is missing"),
        (
            lambda root: (root / "mnist/t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x0c123"),
            "is truncated",
        ),
        (lambda root: (root / "mnist/train-images-idx3-ubyte.gz").write_bytes(b"zip"), "cannot read .*train-images"),
        (
            lambda root: (root / "mnist/t10k-labels-idx1-ubyte").write_bytes(b"abcde"),
            "is not an idx file of 1 dimensions",
        ),
        (lambda root: (root / "mnist/t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0"), "is truncated"),
        (lambda root: (root / "mnist/t10k-labels-idx1-ubyte").write_bytes(b""), "is truncated"),
        (lambda root: damage_within(root / "mnist/train-images-idx3-ubyte.gz"), "cannot read .*train-images"),
        (lambda root: [path.unlink() for path in (root / "photos").iterdir()], "photos has 0 .jpg files"),
    ],
)
def test_damaged_input_is_named(root, damage, says):
    damage(root)
    digits._read_idx.cache_clear()
    with pytest.raises(JobError, match=says):
        listed(root)


def test_options_out_of_range(root):
    for options, says in (({"val": 40}, "val=40"), ({"train": 33}, "train=33"), ({"test": 0}, "test=0")):
        with pytest.raises(JobError, match=f"option {says} must be between"):
            listed(root, **options)


def test_the_real_files(tmp_path):
    if not REAL.is_dir():
        pytest.skip(f"needs the real digits and photos at {REAL}")
    options = {"train": 200, "val": 20, "test": 40}
    manifest = write_shards("mnist-m", REAL, tmp_path, shards=4, workers=1, options=options, progress=False)
    assert manifest.size == 28
    assert manifest.class_counts("source", "test") == manifest.class_counts("target", "test")
    assert manifest.samples("target", "train") == 200
    assert not manifest.labelled("target", "val")
