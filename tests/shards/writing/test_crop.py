"""Crops: all of the image, the centre, or the face."""

import csv

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from job.datasets import synthetic_faces as faces
from job.shards.writing.crop import CropSettings, crop
from job.shards.writing.encode import encode
from job.system.errors import JobError
from tests.support import trees
from tests.support.datasets import build, samples

has_detector = pytest.mark.skipif(
    not hasattr(cv2, "CascadeClassifier"), reason="this OpenCV has no face detector: requirements.txt wants version 4"
)


def decoded(image, crop):
    return simplejpeg.decode_jpeg(encode(image, 32, 95, crop), "RGB").astype(int)


def test_none_takes_all_and_center_the_middle():
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, :40, 0], wide[:, 40:80, 1], wide[:, 80:, 2] = 200, 200, 200
    centre, all_of_it = decoded(wide, "center"), decoded(wide, "none")
    assert centre[:, :, 1].min() > 150
    assert all_of_it[:, 0, 0].min() > 150
    assert all_of_it[:, -1, 2].min() > 150
    assert all_of_it.shape == centre.shape == (32, 32, 3)


def photo(record, size=160, canvas=(360, 480), top=150, left=240):
    """Return a larger image of noise with a drawn face in it."""
    rng = np.random.default_rng(record.payload[-1])
    picture = cv2.GaussianBlur(rng.integers(60, 120, (*canvas, 3), np.uint8), (0, 0), 3)
    picture[top : top + size, left : left + size] = faces.read(record, size)
    return picture


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Write faces off the centre of larger photos, and five photos without a face per domain."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for record in faces.records(None, 3, train=25, val=25, test=25):
        folder = root / record.domain / faces.EMOTIONS[record.label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(record)).save(folder / f"{record.key}.png", compress_level=1)
    for domain in ("source", "target"):
        for i in range(5):
            blank = cv2.GaussianBlur(rng.integers(60, 120, (360, 480, 3), np.uint8), (0, 0), 3)
            Image.fromarray(blank).save(root / domain / "joy" / f"nobody-{i}.png", compress_level=1)
    return root


def find_face(image):
    """Return the square of the face: top, left, height, width; None without a face."""
    (made,) = crop(image, 48, CropSettings("face"))
    return made.face and made.face.square


@has_detector
def test_the_face_is_found_where_it_is():
    found = 0
    for record in faces.records(None, 1, train=20, val=20, test=20)[:40]:
        box = find_face(photo(record))
        if box is None:
            continue
        top, left, height, width = box
        assert height == width
        assert abs(top + height / 2 - (150 + 80)) < 30
        assert abs(left + width / 2 - (240 + 80)) < 30
        found += 1
    assert found >= 34


@has_detector
def test_the_square_is_within_the_image_and_large_images_take_no_longer():
    record = faces.records(None, 1, train=20, val=20, test=20)[0]
    large = cv2.resize(photo(record, top=0, left=0), None, fx=6, fy=6)
    top, left, edge, _ = find_face(large)
    assert min(top, left) >= 0
    assert top + edge <= large.shape[0]
    assert abs(left + edge / 2 - 6 * 80) < 6 * 30
    assert find_face(np.zeros((400, 300, 3), np.uint8)) is None
    assert find_face(np.zeros((3, 2, 3), np.uint8)) is None


def without_face(out):
    """The paths in no_face.csv."""
    with open(out / "no_face.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["reason"].startswith("no upright frontal face of ") for row in rows)
    return [row["path"] for row in rows]


@pytest.mark.slow
@has_detector
@pytest.mark.parametrize("workers", [1, 2])
def test_faces_are_cropped_and_photos_without_one_are_listed(tree, tmp_path, workers):
    kept = build("folders", tree, tmp_path / "kept", crop="face", size=32, workers=workers)
    listed = without_face(tmp_path / "kept")
    assert len([line for line in listed if "nobody" in line]) == 10
    read = samples(tmp_path / "kept")
    assert len(read) == 160
    assert kept.crop == "face"
    seen = {s["source"]: s["image"].astype(float) for s in read}
    if workers == 1:
        build("folders", tree, tmp_path / "center", crop="center", size=32)
        for sample in samples(tmp_path / "center"):
            same = np.abs(seen[sample["source"]] - sample["image"]).mean() < 1e-9
            assert same == (sample["source"] in listed)


@pytest.mark.slow
@has_detector
def test_photos_without_a_face_are_dropped_on_demand(tree, tmp_path):
    dropped = build("folders", tree, tmp_path / "out", crop="face", no_face="drop")
    listed = without_face(tmp_path / "out")
    assert dropped.left_out == {"images without a face": len(listed)}
    assert not {s["source"] for s in samples(tmp_path / "out")} & set(listed)
    sizes = [info.samples for info in dropped.shards("source", "train")]
    assert max(sizes) - min(sizes) <= 1, "shards stay equal"
    with pytest.raises(JobError, match=r"already contains other shards \(no_face is 'drop' there"):
        build("folders", tree, tmp_path / "out", crop="face")


def test_without_the_detector_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)
    with pytest.raises(JobError, match=r"pip install 'opencv-python-headless>=4\.11,<5'"):
        build("folders", trees.folders(tmp_path / "set"), tmp_path / "out", crop="face")


def test_invalid_crops_are_refused(tmp_path):
    with pytest.raises(JobError, match="--crop nose must be one of none, center, face"):
        build("folders", tmp_path, tmp_path / "out", crop="nose")
    with pytest.raises(JobError, match="layout faces has none"):
        build("faces", None, tmp_path / "out", crop="face")
