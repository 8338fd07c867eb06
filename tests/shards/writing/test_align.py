"""Aligned faces: level eyes at a fixed place, in shards and in predictions alike."""

import hashlib
import json
import math
import tarfile

import cv2
import numpy as np
import pytest
from PIL import Image

from job.shards.alignment import Alignment
from job.shards.inspection.contact_sheet import draw_sheet
from job.shards.manifest import load_manifest
from job.shards.reading.shard_cache import ShardStore
from job.shards.writing import face_model
from job.shards.writing.crop import CropSettings, crop, crop_settings, repeated_settings, similarity
from job.shards.writing.face_detector import Face, YuNet
from job.system.errors import JobError
from tests.support.datasets import build
from tests.support.face_model import PLACES, dots_in, face, photo, write_face_model

SIZE = 64
AT = Alignment(sha256="0" * 64)
EYES = np.array([(0.5 - AT.eye_distance / 2, AT.eye_height), (0.5 + AT.eye_distance / 2, AT.eye_height)])


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return write_face_model(tmp_path_factory.mktemp("model") / "face.onnx")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(face_model, "CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def settings(model):
    return crop_settings("face", str(model))


def moved(number=0, edge=200):
    """The same face upright, turned, shifted and of another size."""
    places = [(320, 240, edge, 0), (200, 200, edge, 35), (430, 260, edge * 0.8, -50), (300, 230, edge * 1.3, 110)]
    return [photo([(number, *place)]) for place in places]


def test_the_eyes_are_level_and_at_their_place_however_the_face_is_turned(settings):
    for image in moved():
        (made,) = crop(image, SIZE, settings)
        assert made.reason is None
        np.testing.assert_allclose(dots_in(made.pixels)[:2], EYES, atol=0.01)
        np.testing.assert_allclose(np.array(made.points)[:2], EYES, atol=0.01)
        np.testing.assert_allclose(made.points, dots_in(made.pixels), atol=0.02)


def test_aligned_crops_of_one_face_are_alike_and_plain_ones_are_not(settings):
    aligned, plain = [], []
    for image in moved():
        (made,) = crop(image, SIZE, settings)
        face_ = made.face
        box = image[int(face_.top) : int(face_.top + face_.height), int(face_.left) : int(face_.left + face_.width)]
        for crops, pixels in ((aligned, made.pixels), (plain, box)):
            crops.append(cv2.resize(pixels, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(float))
    apart = {
        name: np.mean([np.abs(c - crops[0]).mean() for c in crops[1:]])
        for name, crops in (("aligned", aligned), ("plain", plain))
    }
    assert apart["aligned"] < apart["plain"] / 3


def test_all_faces_of_a_photo_the_largest_first(settings):
    image = photo([(1, 150, 200, 120, 20), (2, 450, 240, 200, -30)])
    large, small = crop(image, SIZE, settings, all_faces=True)
    assert abs(large.face.left + large.face.width / 2 - 450) < 15
    assert abs(small.face.left + small.face.width / 2 - 150) < 15
    assert [made.face for made in crop(image, SIZE, settings)] == [large.face]


def test_a_large_photo_is_searched_small_and_cropped_in_full(settings):
    image = cv2.resize(photo([(1, 300, 250, 180, 15)]), (4000, 3000), interpolation=cv2.INTER_CUBIC)
    (made,) = crop(image, SIZE, settings)
    assert len(made.pixels) > 500
    np.testing.assert_allclose(dots_in(made.pixels)[:2], EYES, atol=0.01)


def test_a_photo_without_a_face_says_why(settings):
    for image in (np.full((90, 120, 3), 90, np.uint8), np.zeros((3, 2, 3), np.uint8)):
        (made,) = crop(image, SIZE, settings)
        assert (made.pixels is image, made.face, made.reason) == (True, None, "no face")


@pytest.mark.parametrize(
    ("score", "eye", "reason"),
    [
        (0.9, 3.0, "the eyes are 3.0 px apart, less than 4"),
        (0.41, 9.0, "the best face has a score of 0.41, less than 0.7"),
    ],
)
def test_a_face_that_is_not_used_says_why(settings, monkeypatch, score, eye, reason):
    points = ((10.0, 10.0), (10.0 + eye, 10.0), (12.0, 14.0), (10.0, 18.0), (14.0, 18.0))
    monkeypatch.setattr(YuNet, "_search", lambda *_: [Face(5.0, 5.0, 12.0, 12.0, points, score)])
    image = np.zeros((40, 40, 3), np.uint8)
    (made,) = crop(image, SIZE, settings)
    assert (made.pixels is image, made.face, made.reason) == (True, None, reason)


def test_a_turned_head_is_scaled_by_the_way_to_the_mouth():
    frontal = ((40.0, 50.0), (60.0, 50.0), (50.0, 62.0), (44.0, 72.0), (56.0, 72.0))
    profile = ((54.0, 50.0), (58.0, 51.0), (64.0, 62.0), (54.0, 72.0), (58.0, 73.0))
    edges = [similarity(points, 16, AT)[1] for points in (frontal, profile)]
    assert edges[0] == round(20 / AT.eye_distance)
    assert edges[1] == pytest.approx(AT.turned * 22 / AT.eye_distance, rel=0.02), "not by eyes that seem 4 px apart"
    matrix, edge, _ = similarity(profile, 16, AT)
    assert abs(math.degrees(math.atan2(matrix[0, 1], matrix[0, 0]))) < 10
    assert matrix @ (56, 50.5, 1) == pytest.approx(((edge - 1) / 2, AT.eye_height * edge - 0.5))


# The file of the detector ------------------------------------------------------------------------------------------


def publish(monkeypatch, path, sha256=None):
    monkeypatch.setattr(face_model, "URLS", (f"file://{path.parent}/absent.onnx", f"file://{path}"))
    monkeypatch.setattr(face_model, "SHA256", sha256 or hashlib.sha256(path.read_bytes()).hexdigest())


def test_the_published_file_is_fetched_once_and_checked(model, cache, monkeypatch):
    publish(monkeypatch, model)
    fetched = crop_settings("face", "yunet")
    assert fetched.model == str(cache / f"{face_model.SHA256}.onnx")
    monkeypatch.setattr(face_model, "URLS", ())
    assert crop_settings("face", "yunet") == fetched
    assert repeated_settings("face", fetched.alignment) == fetched
    with open(fetched.model, "ab") as file:
        file.write(b"damage")
    with pytest.raises(JobError, match="cannot fetch the face detector"):
        crop_settings("face", "yunet")


def test_another_content_at_the_address_is_refused(model, cache, monkeypatch):
    publish(monkeypatch, model, "1" * 64)
    with pytest.raises(JobError, match=r"absent\.onnx: .*its content has another SHA-256\): download"):
        crop_settings("face", "yunet")
    assert not cache.exists()


def test_a_file_by_its_path_is_found_again_without_it(tmp_path, model, settings):
    assert repeated_settings("face", settings.alignment).model != str(model)
    assert repeated_settings("face", settings.alignment, str(model)).model == str(model)
    (tmp_path / "other.onnx").write_bytes(b"x")
    with pytest.raises(JobError, match=r"other\.onnx has the SHA-256 .* give that file"):
        repeated_settings("face", settings.alignment, str(tmp_path / "other.onnx"))
    with pytest.raises(JobError, match="give its ONNX file as --face-model"):
        repeated_settings("face", AT)
    with pytest.raises(JobError, match="were not aligned; leave it out"):
        repeated_settings("face", None, str(model))


@pytest.mark.parametrize(
    ("given", "message"),
    [("absent.onnx", "No such file"), (".", "it is a folder"), ("text.onnx", "OpenCV cannot use the face detector")],
)
def test_a_file_that_is_no_detector_is_refused(tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(JobError, match=message):
        crop_settings("face", given)


# Shards ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path):
    """Ten turned faces of each domain in photos, and a photo without a face."""
    for domain in ("source", "target"):
        folder = tmp_path / "photos" / domain / "joy"
        folder.mkdir(parents=True)
        for i in range(10):
            Image.fromarray(photo([(i, 90 + i, 95, 110, 12 * i - 60)], (190, 200))).save(folder / f"{i}.png")
        Image.fromarray(np.full((120, 120, 3), 90 + (domain == "target"), np.uint8)).save(folder / "nobody.png")
    return tmp_path / "photos"


def test_aligned_shards_keep_what_predict_needs_and_show_it(photos, tmp_path, model):
    out = tmp_path / "shards"
    manifest = build("folders", photos, out, crop="face", face_model=str(model), size=SIZE, workers=1)
    assert manifest.alignment == load_manifest(out).alignment == crop_settings("face", str(model)).alignment
    assert manifest.compact().alignment == manifest.alignment
    assert sorted((out / "no_face.csv").read_text().splitlines()) == [
        "path,reason",
        "source/joy/nobody.png,no face",
        "target/joy/nobody.png,no face",
    ]
    described = []
    for path in out.rglob("*.tar"):
        with tarfile.open(path) as tar:
            described += [json.load(tar.extractfile(name)) for name in tar.getnames() if name.endswith(".json")]
    faces = [sample["face"] for sample in described if "face" in sample]
    assert (len(described), len(faces)) == (22, 20)
    for found in faces:
        np.testing.assert_allclose(found["points"][:2], EYES, atol=0.01)
        assert np.shape(found["outline"]) == (4, 2)
    sheet = np.asarray(draw_sheet(manifest, ShardStore(out)))
    assert (sheet == (255, 210, 0)).all(2).sum() > 100, "boxes"
    with pytest.raises(JobError, match=r"already contains other shards \(alignment is "):
        build("folders", photos, out, crop="face", size=SIZE, workers=1)


def test_an_interrupted_conversion_is_repeated_with_another_detector(photos, tmp_path, model, monkeypatch):
    from job.shards.writing.convert import convert_chunk

    locations = [str(path) for path in sorted(photos.rglob("*.png"))]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    aligned = crop_settings("face", str(model))
    first = convert_chunk(0, locations, SIZE, 95, aligned, False, scratch)
    assert convert_chunk(0, locations, SIZE, 95, aligned._replace(model="moved"), False, scratch) == first, (
        "from the file"
    )
    other = convert_chunk(0, locations, SIZE, 95, CropSettings("face"), False, scratch)
    assert other[1].faces == {}
    assert len(first[1].faces) == 20


def test_the_places_of_the_dots_are_those_of_a_face():
    """The support's own faces: the dots are where they are said to be."""
    np.testing.assert_allclose(dots_in(face(0)), PLACES, atol=0.01)
