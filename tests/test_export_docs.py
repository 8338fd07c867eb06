"""docs/export.md is sufficient: its code returns what `predict` returns for the same photos."""

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from job.config.load import build_config
from job.datasets import synthetic_faces
from job.evaluation.load import load_model
from job.export import _metadata as metadata_of
from job.export import export
from job.methods.build import build_method
from job.predict import predict_image
from job.run_folder.checkpoint import save_checkpoint
from job.shards.alignment import Alignment
from tests.support.running import REPO

NAMES = ("calm", "glad")
SIZE = 48


@pytest.fixture
def code():
    """The only Python block of the page."""
    (block,) = re.findall(r"^```python\n(.*?)^```", (REPO / "docs" / "export.md").read_text(), re.M | re.S)
    return compile(block, "docs/export.md", "exec")


def checkpoint(folder, crop):
    """Save an untrained network whose output depends strongly on the pixels."""
    config = build_config({"name": "made", "model": {"backbone": "compact"}, "data": {"mean": "imagenet"}}, "test")
    network = build_method(config, SIZE, len(NAMES))
    with torch.no_grad():
        network.predict(torch.rand(8, 3, SIZE, SIZE))
        network.network.label_predictor[-1].weight *= 30
    meta = {"class_names": NAMES, "size": SIZE, "quality": 60, "crop": crop, "config": config.model_dump(mode="json")}
    folder.mkdir()
    return save_checkpoint(folder, meta | {"step": 7}, network.state_dict(), {}).path


def photos(folder):
    """Write a face in a larger image, the same rotated by EXIF, a small photo, a wide one, and one of one pixel."""
    folder.mkdir()
    record = synthetic_faces.records(None, 3, train=20, val=20, test=20)[0]
    rng = np.random.default_rng(0)
    large = cv2.resize(rng.integers(0, 256, (40, 60, 3), np.uint8), (900, 600), interpolation=cv2.INTER_CUBIC)
    large[150:450, 400:700] = synthetic_faces.read(record, 300)
    Image.fromarray(large).save(folder / "face.png")
    rotated = Image.fromarray(np.rot90(large).copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    rotated.save(folder / "rotated.jpg", quality=90, exif=exif)
    Image.fromarray(large[150:180, 400:440]).save(folder / "small.png")
    Image.fromarray(large[200:260]).save(folder / "wide.jpg", quality=85)
    Image.fromarray(large[:1, :1]).save(folder / "pixel.png")
    return sorted(folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("crop", ["none", "center", "face"])
def test_code_of_the_page_agrees_with_predict(tmp_path, monkeypatch, code, crop):
    if crop == "face" and not hasattr(cv2, "CascadeClassifier"):
        pytest.skip("this OpenCV has no face detector")
    path = checkpoint(tmp_path / "checkpoints", crop)
    model = load_model(path)
    export(path, tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    differences = []
    for photo in photos(tmp_path / "photos"):
        (tmp_path / "photo.jpg").write_bytes(photo.read_bytes())
        page = {}
        exec(code, page)
        expected = np.array(list(predict_image(model, photo).probabilities.values()))
        np.testing.assert_allclose(page["probabilities"], expected, atol=1e-3, err_msg=f"{crop} {photo.name}")
        resized = cv2.resize(cv2.cvtColor(cv2.imread("photo.jpg"), cv2.COLOR_BGR2RGB), (SIZE, SIZE))
        inputs = resized.transpose(2, 0, 1)[None].astype(np.float32) / 255
        (output,) = page["session"].run(["probabilities"], {"images": inputs})
        differences.append(np.abs(output[0] - expected).max())
    assert max(differences) > 0.02, "on these photos, plain resizing must give another result than the page"


def test_page_documents_every_metadata_key(tmp_path):
    import onnx

    path = checkpoint(tmp_path / "checkpoints", "face")
    export(path, tmp_path / "model.onnx")
    keys = {entry.key for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    keys |= set(metadata_of(replace(load_model(path), alignment=Alignment(sha256="0" * 64))))
    table = (REPO / "docs" / "export.md").read_text().partition("## Metadata")[2]
    named = {key for cell in re.findall(r"^\|([^|]*)\|", table, re.M) for key in re.findall(r"`(\w+)`", cell)}
    assert named == keys
