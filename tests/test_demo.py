"""`demo`: a photo straight from a camera, on the page as a person uses it, in a real browser."""

import json
import os
import socket
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from job.datasets import synthetic_faces
from job.demo import HOST, PRIVACY, analyse, serving
from job.evaluation.load import load_model
from job.predict import predict_image
from job.prediction.prepare import settings_of
from job.system.errors import JobError
from tests.support.browser import Browser
from tests.support.checkpoints import untrained

SIZE = 48


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("runs") / "faces", size=SIZE, crop="face", model={"backbone": "compact"})


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """12 megapixels, stored on its side as a camera does: a large face on the left and a small one on the right."""
    upright = np.full((4000, 3000, 3), 120, np.uint8)
    for number, top, left, edge in ((15, 700, 250, 1300), (9, 2300, 1900, 800)):
        record = synthetic_faces.records(None, 3, train=20, val=20, test=20)[number]
        face = cv2.resize(synthetic_faces.read(record, 256), (edge, edge), interpolation=cv2.INTER_CUBIC)
        upright[top : top + edge, left : left + edge] = face
    path = tmp_path_factory.mktemp("camera") / "IMG_0001.JPG"
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to view
    Image.fromarray(np.rot90(upright)).save(path, quality=90, exif=exif)
    return path


def test_a_photo_from_a_camera(checkpoint, photo):
    model = load_model(checkpoint)
    analysis = analyse(model, settings_of(model), photo)
    assert analysis.photo.shape == (1024, 768, 3), "upright, and smaller"
    assert len(analysis.faces) >= 2
    best = predict_image(model, photo)
    assert analysis.faces[0].probabilities == pytest.approx(best.probabilities, abs=1e-5)
    assert analysis.faces[0].title == f"1: {best.label} {100 * best.confidence:.0f} %"
    assert analysis.faces[0].explained.shape[2] == 3
    assert not analysis.note
    changed = np.abs(analysis.photo.astype(int) - 120).max(2) > 60
    assert changed[180:500, 60:400].any()
    assert changed[590:790, 480:700].any()


def test_a_photo_without_a_face_and_a_file_that_is_no_photo(checkpoint, tmp_path):
    model = load_model(checkpoint)
    Image.new("RGB", (300, 200), (10, 200, 30)).save(tmp_path / "green.png")
    analysis = analyse(model, settings_of(model), tmp_path / "green.png")
    assert len(analysis.faces) == 1
    assert analysis.note == "No face was found: the centre of the photo was taken."
    (tmp_path / "x.jpg").write_text("text")
    with pytest.raises(JobError, match="this file cannot be read as a photo: not an image of a known format"):
        analyse(model, settings_of(model), tmp_path / "x.jpg")


def test_a_taken_port_and_a_missing_package_are_one_line(checkpoint, monkeypatch):
    pytest.importorskip("gradio")
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(JobError, match=f"--port {port} cannot be used"), serving(checkpoint, port):
            pass
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(JobError, match="demo needs gradio: pip install"), serving(checkpoint):
        pass


@pytest.mark.slow
def test_the_page_in_a_browser(checkpoint, photo, tmp_path):
    pytest.importorskip("gradio")
    best = predict_image(load_model(checkpoint), photo)
    with serving(checkpoint) as address, Browser(tmp_path / "profile") as browser:
        assert address.startswith(f"http://{HOST}:")
        browser.open(address)
        browser.wait_for(f"document.body && document.body.innerText.includes({json.dumps(PRIVACY)})")
        assert "Do not use it to decide about people" in browser.text(), "the notice of responsible use"
        browser.wait_for("document.querySelector('input[type=file]') !== null")
        browser.choose_file("input[type=file]", photo)
        browser.wait_for("document.body.innerText.includes('faces, the largest first')")
        assert f"1: {best.label} {100 * best.confidence:.0f} %" in browser.text()
        browser.wait_for("[...document.images].filter(image => image.naturalWidth > 100).length >= 4")  # with overlays
        picture = np.asarray(Image.open(browser.screenshot(tmp_path / "page.png")).convert("L")).astype(float)
        assert picture.std() > 20
        browser.open(address)
        browser.click("Capture from camera")
        browser.click("Click to Access Webcam")
        browser.wait_for("document.querySelector('video')?.currentTime > 0")
        browser.click("capture photo")
        browser.wait_for("document.body.innerText.includes('No face was found')")  # the camera shows a test pattern
        outside = [url for url in browser.requests if not url.startswith((address, "data:", "blob:", "about:"))]
        assert not outside, outside
        photos = Path(os.environ["GRADIO_TEMP_DIR"])
        assert list(photos.rglob("*.JPG"))
        assert not browser.errors, browser.errors
    assert not photos.exists(), "photos are deleted when the page is closed"
