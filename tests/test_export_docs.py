"""docs/export.md alone is enough: its code gives what `predict` gives, from the same photos."""

import re

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from job.config.load import build_config
from job.datasets import synthetic_faces
from job.evaluation.load import load_model
from job.export import export
from job.methods.build import build_method
from job.predict import predict_image
from job.run_folder.checkpoint import save_checkpoint
from tests.support.running import REPO

NAMES = ("calm", "glad")
SIZE = 48


@pytest.fixture
def code():
    """The one block of Python on the page."""
    (block,) = re.findall(r"^```python\n(.*?)^```", (REPO / "docs" / "export.md").read_text(), re.M | re.S)
    return compile(block, "docs/export.md", "exec")


def checkpoint(folder, crop):
    """An untrained network whose answers depend strongly on the pixels."""
    config = build_config({"name": "made", "model": {"backbone": "compact"}, "data": {"mean": "imagenet"}}, "test")
    network = build_method(config, SIZE, len(NAMES))
    with torch.no_grad():
        network.predict(torch.rand(8, 3, SIZE, SIZE))
        network.network.label_predictor[-1].weight *= 30
    meta = {"class_names": NAMES, "size": SIZE, "quality": 60, "crop": crop, "config": config.model_dump(mode="json")}
    folder.mkdir()
    return save_checkpoint(folder, meta | {"step": 7}, network.state_dict(), {}).path


def photos(folder):
    """A face in a larger picture, the same turned by EXIF, a small photo, a wide one, and one of one pixel."""
    folder.mkdir()
    record = synthetic_faces.records(None, 3, train=20, val=20, test=20)[0]
    rng = np.random.default_rng(0)
    large = cv2.resize(rng.integers(0, 256, (40, 60, 3), np.uint8), (900, 600), interpolation=cv2.INTER_CUBIC)
    large[150:450, 400:700] = synthetic_faces.read(record, 300)
    Image.fromarray(large).save(folder / "face.png")
    turned = Image.fromarray(np.rot90(large).copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(folder / "turned.jpg", quality=90, exif=exif)
    Image.fromarray(large[150:180, 400:440]).save(folder / "small.png")
    Image.fromarray(large[200:260]).save(folder / "wide.jpg", quality=85)
    Image.fromarray(large[:1, :1]).save(folder / "pixel.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("crop", ["none", "center", "face"])
def test_the_code_of_the_page_gives_what_predict_gives(tmp_path, monkeypatch, code, crop):
    if crop == "face" and not hasattr(cv2, "CascadeClassifier"):
        pytest.skip("this OpenCV has no face detector")
    path = checkpoint(tmp_path / "checkpoints", crop)
    model = load_model(path)
    export(path, tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    plain = []
    for photo in photos(tmp_path / "photos"):
        (tmp_path / "photo.jpg").write_bytes(photo.read_bytes())
        found = {}
        exec(code, found)
        expected = np.array(list(predict_image(model, photo).probabilities.values()))
        np.testing.assert_allclose(found["probabilities"], expected, atol=1e-3, err_msg=f"{crop} {photo.name}")
        simply = cv2.resize(cv2.cvtColor(cv2.imread("photo.jpg"), cv2.COLOR_BGR2RGB), (SIZE, SIZE))
        given = simply.transpose(2, 0, 1)[None].astype(np.float32) / 255
        (answer,) = found["session"].run(["probabilities"], {"images": given})
        plain.append(np.abs(answer[0] - expected).max())
    assert max(plain) > 0.02, "these photos would not show a difference in preparation"


def test_the_page_names_every_key_of_the_file(tmp_path):
    import onnx

    export(checkpoint(tmp_path / "checkpoints", "face"), tmp_path / "model.onnx")
    keys = {entry.key for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    table = (REPO / "docs" / "export.md").read_text().partition("## Metadata")[2]
    named = {key for cell in re.findall(r"^\|([^|]*)\|", table, re.M) for key in re.findall(r"`(\w+)`", cell)}
    assert named == keys
