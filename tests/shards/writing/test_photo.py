"""`--scaled-jpeg`: large JPEGs are decoded at 1/2, 1/4 or 1/8, for shards and for predictions alike."""

import io
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from job.prediction.images import Picture
from job.prediction.prepare import read, settings_of
from job.shards.inspection.inspect_shards import inspect_shards
from job.shards.manifest import load_manifest
from job.shards.writing import face_model, read_picture
from job.shards.writing.crop import CropSettings, crop, crop_settings
from job.shards.writing.encode import encode
from job.shards.writing.face_detector import Box, Face
from job.shards.writing.photo import MARGIN, SCALING, _in_reduced, crop_photo
from job.system.errors import JobError
from tests.support import trees
from tests.support.datasets import build, samples
from tests.support.face_model import dots_in, photo, write_face_model

SIZE = 64
CENTER = CropSettings("center", scaling=SCALING)


def jpeg(pixels, orientation=None, quality=92):
    held, exif = io.BytesIO(), Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(held, "JPEG", quality=quality, exif=exif.tobytes())
    return held.getvalue()


def scene(height, width):
    """An image with smooth shades of three sizes."""
    rng = np.random.default_rng(3)
    layers = [
        cv2.resize(rng.uniform(-1, 1, (n, n, 3)), (width, height), interpolation=cv2.INTER_CUBIC) for n in (3, 9, 20)
    ]
    return np.clip(128 + 30 * sum(layers), 0, 255).astype(np.uint8)


@pytest.fixture
def decoded(monkeypatch):
    """The reductions at which JPEGs are decoded."""
    seen, original = [], read_picture._read_jpeg

    def recorded(content, height, width, reduction):
        seen.append(reduction)
        return original(content, height, width, reduction)

    monkeypatch.setattr(read_picture, "_read_jpeg", recorded)
    return seen


def settings(tmp_path, monkeypatch):
    monkeypatch.setattr(face_model, "CACHE", str(tmp_path / "cache"))
    return crop_settings("face", str(write_face_model(tmp_path / "face.onnx")))._replace(scaling=SCALING)


@pytest.mark.parametrize(
    ("shape", "reduction"), [((1024, 1400), 8), ((1023, 1400), 4), ((300, 1400), 2), ((255, 3000), 1)]
)
def test_the_sample_keeps_twice_its_edge_and_differs_little(decoded, shape, reduction):
    content = jpeg(scene(*shape))
    (made,) = crop_photo(content, SIZE, CENTER)
    assert decoded == [reduction]
    assert min(made.pixels.shape[:2]) >= min(MARGIN * SIZE, min(shape))
    assert made.pixels.shape[:2] == tuple(-(-edge // reduction) for edge in shape)
    (whole,) = crop_photo(content, SIZE, CropSettings("center"))
    one, other = (simplejpeg.decode_jpeg(encode(each.pixels, SIZE, 95)).astype(int) for each in (made, whole))
    assert np.abs(one - other).mean() < 2.5  # 5 from pixel to pixel
    assert (one == other).all() == (reduction == 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_photo_is_upright(orientation):
    content = jpeg(scene(520, 700), orientation)
    (made,) = crop_photo(content, SIZE, CENTER)
    (whole,) = crop_photo(content, SIZE, CropSettings("center"))
    assert made.pixels.shape[0] < whole.pixels.shape[0]
    assert np.abs(encoded(made) - encoded(whole)).mean() < 2.5  # 5 from pixel to pixel


def encoded(made):
    return simplejpeg.decode_jpeg(encode(made.pixels, SIZE, 95)).astype(int)


def test_other_formats_and_unusual_jpegs_are_decoded_whole():
    pixels = scene(600, 600)
    held = io.BytesIO()
    Image.fromarray(pixels).convert("CMYK").save(held, "JPEG")
    assert crop_photo(held.getvalue(), 16, CENTER)[0].pixels.shape == (600, 600, 3)
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    np.testing.assert_array_equal(crop_photo(held.getvalue(), 16, CENTER)[0].pixels, pixels)
    with_tail = jpeg(pixels) + b"tail"
    assert crop_photo(with_tail, 16, CENTER)[0].pixels.shape == (75, 75, 3)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("edge", "reductions"), [(300, [4, 4]), (60, [4, 2])])
def test_an_aligned_face_is_at_its_place_at_any_scale(tmp_path, monkeypatch, decoded, orientation, edge, reductions):
    upright = cv2.resize(photo([(0, 330, 250, edge, 25)]), None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
    stored = np.rot90(upright) if orientation == 6 else upright  # 6: turned by a quarter when it is shown
    content = jpeg(np.ascontiguousarray(stored), orientation)
    own = settings(tmp_path, monkeypatch)
    (whole,) = crop_photo(content, SIZE, own._replace(scaling=0))
    decoded.clear()
    (made,) = crop_photo(content, SIZE, own)
    assert decoded == reductions[: 1 + (reductions[1] != reductions[0])]
    assert len(made.pixels) >= MARGIN * SIZE - 1
    np.testing.assert_allclose(made.face[:4], whole.face[:4], atol=3)  # px of 3840
    np.testing.assert_allclose(made.face.points, whole.face.points, atol=3)
    np.testing.assert_allclose(dots_in(made.pixels), dots_in(whole.pixels), atol=0.006)
    np.testing.assert_allclose(made.points, whole.points, atol=0.006)
    np.testing.assert_allclose(made.outline, whole.outline, atol=0.02)


def test_several_faces_of_a_large_photo_are_those_of_the_whole_one(tmp_path, monkeypatch):
    small = photo([(0, 150, 150, 120, 0), (3, 440, 300, 200, -20)])
    content = jpeg(cv2.resize(small, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC))
    own = settings(tmp_path, monkeypatch)
    made = crop_photo(content, SIZE, own, all_faces=True)
    whole = crop_photo(content, SIZE, own._replace(scaling=0), all_faces=True)
    assert len(made) == len(whole) == 2
    for one, other in zip(made, whole, strict=True):
        np.testing.assert_allclose(one.face.points, other.face.points, atol=3)
        assert np.abs(encoded(one) - encoded(other)).mean() < 3
    (nobody,) = crop_photo(jpeg(np.full((2000, 2600, 3), 90, np.uint8)), SIZE, own)
    assert nobody.reason == "no face"


def test_the_box_of_the_cascade_is_moved_to_the_reduced_photo():
    face = Face(800, 400, 400, 400, square=(400, 800, 400, 400))
    assert _in_reduced(face, (3000, 4000), (375, 500)).square == (50, 100, 50, 50)
    low: Box = (2598, 3598, 402, 402)  # it ends at the corner, and still does
    assert _in_reduced(Face(0, 0, 1, 1, square=low), (3000, 4000), (375, 500)).square == (325, 450, 50, 50)
    moved = _in_reduced(Face(0, 0, 1, 1, points=((3.5, 11.5),)), (3000, 4000), (375, 500))
    assert moved.points == ((0.0, 1.0),)  # the middle of the first 8 px is the centre of the first pixel


@pytest.mark.skipif(not hasattr(cv2, "CascadeClassifier"), reason="OpenCV 5 has no cascade")
def test_the_cascade_finds_the_same_face_in_a_reduced_photo(decoded):
    from job.datasets import synthetic_faces

    record = synthetic_faces.records(None, 1, train=20, val=20, test=20)[0]
    picture = np.full((500, 660, 3), 90, np.uint8)
    picture[150:310, 240:400] = synthetic_faces.read(record, 160)
    content = jpeg(cv2.resize(picture, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC))
    (made,) = crop_photo(content, SIZE, CropSettings("face", scaling=SCALING))
    (whole,) = crop(read_picture.read_picture(content), SIZE, CropSettings("face"))
    assert decoded[0] == 4
    assert whole.face is not None
    np.testing.assert_allclose(made.face.square, whole.face.square, atol=40)  # px of 3300
    assert made.pixels.shape[0] >= MARGIN * SIZE


def test_shards_say_so_and_predictions_prepare_photos_alike(tmp_path):
    root = tmp_path / "set"
    trees.folders(root, names=("joy", "fear"), each=8)
    for number, path in enumerate(sorted(root.rglob("*.*"))):
        path.unlink()
        path.with_suffix(".jpg").write_bytes(jpeg(np.roll(scene(300, 400), 17 * number, 1)))
    manifest = build("folders", root, tmp_path / "out", scaled_jpeg=True)
    assert manifest.jpeg_scaling == load_manifest(tmp_path / "out").jpeg_scaling == SCALING
    assert "large JPEGs decoded at a reduced size" in inspect_shards(tmp_path / "out")
    with pytest.raises(JobError, match="jpeg_scaling is 1 there, 0 here"):
        build("folders", root, tmp_path / "out")
    form = {"size": 16, "quality": 95, "crop": "center", "gray": False, "alignment": None}
    loaded, other = (SimpleNamespace(**form, jpeg_scaling=scaling) for scaling in (SCALING, 0))
    for sample in samples(tmp_path / "out"):
        picture = Picture("photo", root / sample["source"])
        (prepared,) = read(picture, loaded, settings_of(loaded))
        np.testing.assert_array_equal(prepared.pixels, sample["image"])
        (differing,) = read(picture, other, settings_of(other))
        assert (differing.pixels != sample["image"]).any()
