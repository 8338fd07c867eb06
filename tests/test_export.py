"""`export`: the ONNX file agrees with the network, and its metadata says how to use it."""

import json
from functools import wraps

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torchvision.models import VisionTransformer, vit_b_16
from torchvision.models._api import BUILTIN_MODELS

from job.config.load import build_config
from job.evaluation.load import load_model
from job.export import export
from job.methods.build import build_method
from job.predict import predict_image
from job.run_folder.checkpoint import save_checkpoint
from job.shards.reading.augment import normalise
from job.system.errors import JobError
from tests.support.checkpoints import NAMES, untrained


@wraps(vit_b_16)
def two_layers(weights=None, **settings):
    """Build a vit_b_16 of two of its twelve layers: they are alike, and each takes two seconds to export."""
    return VisionTransformer(patch_size=16, num_layers=2, num_heads=12, hidden_dim=768, mlp_dim=3072, **settings)


def checkpoint(folder, backbone, size, **model):
    """A checkpoint of an untrained network whose BatchNorm statistics are not the initial ones."""
    config = build_config({"name": "made", "model": {"backbone": backbone, **model}, "data": {"mean": "imagenet"}}, "x")
    network = build_method(config, size, len(NAMES))
    network.train()
    with torch.no_grad():
        network.predict(torch.rand(8, 3, size, size))
    folder.mkdir()
    meta = {"class_names": NAMES, "size": size, "quality": 95, "crop": "face", "config": config.model_dump(mode="json")}
    return save_checkpoint(folder, meta | {"step": 7}, network.state_dict(), {}).path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "size", "model"),
    [
        ("compact", 48, {"bottleneck": 32, "dropout": 0.5}),
        ("mnist", 28, {}),
        ("svhn", 32, {}),
        ("resnet18", 64, {}),
        pytest.param("convnext_tiny", 64, {}, marks=pytest.mark.slow),
        pytest.param("vit_b_16", 64, {}, marks=pytest.mark.slow),
    ],
)
def test_onnx_file_agrees_with_the_network(tmp_path, monkeypatch, backbone, size, model):
    monkeypatch.setitem(BUILTIN_MODELS, "vit_b_16", two_layers)
    path = checkpoint(tmp_path / "checkpoints", backbone, size, **model)
    assert export(path, tmp_path / "model.onnx") < 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    images_uint8 = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    inputs = (images_uint8.transpose(0, 3, 1, 2) / 255).astype(np.float32)
    (output,) = session.run(["probabilities"], {"images": inputs})
    loaded = load_model(path)
    with torch.no_grad():
        normalised = normalise(torch.from_numpy(images_uint8), loaded.config.data.mean, loaded.config.data.std)
        expected = loaded.model.predict(normalised).class_logits.softmax(1).numpy()
    np.testing.assert_allclose(output, expected, atol=1e-4)
    assert [path.name for path in tmp_path.glob("*.onnx*")] == ["model.onnx"], "the weights are inside the file"


@pytest.mark.slow
def test_metadata_describes_the_model(tmp_path):
    path = checkpoint(tmp_path / "checkpoints", "mnist", 28)
    export(path, tmp_path / "folder" / "model.onnx")
    model = onnx.load(tmp_path / "folder" / "model.onnx")
    onnx.checker.check_model(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert tuple(json.loads(metadata["class_names"])) == NAMES
    assert (metadata["size"], metadata["crop"], metadata["step"]) == ("28", "face", "7")
    names = {weights.name for weights in model.graph.initializer}
    assert not any("domain" in name for name in names), "the domain classifier is left out"


@pytest.mark.slow
def test_a_file_that_takes_photos_of_any_size(tmp_path):
    """From raw files to probabilities, without this project: as `predict` reads the same files."""
    path = untrained(tmp_path / "run", quality=80)
    export(path, tmp_path / "model.onnx", preprocess=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["preprocessing"] == "inside"
    model = load_model(path)
    probabilities = []
    for number, size in enumerate([(120, 90), (28, 28), (17, 23), (333, 64)]):
        coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
        photo = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        photo.save(tmp_path / "photo.png")
        pixels = np.asarray(Image.open(tmp_path / "photo.png").convert("RGB"))
        (output,) = session.run(["probabilities"], {"images": pixels[None]})
        expected = np.array(list(predict_image(model, tmp_path / "photo.png").probabilities.values()))
        np.testing.assert_allclose(output[0], expected, atol=0.01, err_msg=str(size))
        probabilities.append(expected)
    assert np.ptp(probabilities, axis=0).max() > 0.1, "the photos must differ"


@pytest.mark.slow
@pytest.mark.parametrize("preprocess", [False, True])
def test_torch_export(tmp_path, preprocess):
    path = untrained(tmp_path / "run")
    assert export(path, tmp_path / "model.pt2", preprocess) < 1e-4
    extra = {"metadata.json": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=extra)
    assert tuple(json.loads(json.loads(extra["metadata.json"])["class_names"])) == NAMES
    if preprocess:
        assert program.module()(torch.zeros(4, 50, 61, 3, dtype=torch.uint8)).shape == (4, 7)
    else:
        images = torch.rand(3, 3, 28, 28)
        loaded = load_model(path)
        mean, std = (
            torch.tensor(value).view(1, 3, 1, 1) for value in (loaded.config.data.mean, loaded.config.data.std)
        )
        with torch.no_grad():
            expected = loaded.model.predict((images - mean) / std).class_logits.softmax(1)
        torch.testing.assert_close(program.module()(images), expected, atol=1e-4, rtol=0)


def test_a_name_without_an_ending_is_a_folder_to_share(tmp_path, job):
    path = untrained(tmp_path / "run")
    code, out, _ = job("export", "--checkpoint", path, "--out", tmp_path / "shared", "--license", "apache-2.0")
    assert code == 0
    assert [line.split(": ")[0].rpartition("/")[2] for line in out.splitlines()] == [
        "README.md", "config.json", "model.safetensors",
    ]  # fmt: skip
    code, _, errors = job("export", "--checkpoint", path, "--out", tmp_path / "other", "--preprocess")
    assert (code, errors.count("\n")) == (2, 1)


def test_each_failure_is_one_clear_error(tmp_path, monkeypatch):
    path = checkpoint(tmp_path / "checkpoints", "mnist", 28)
    with pytest.raises(JobError, match=r"ends in \.onnx or \.pt2, or one without an ending for a folder"):
        export(path, tmp_path / "model.pt")
    with pytest.raises(JobError, match="no checkpoint at"):
        export(tmp_path / "nowhere", tmp_path / "model.onnx")
    (tmp_path / "file").write_text("")
    with pytest.raises(JobError, match="cannot make"):
        export(path, tmp_path / "file" / "model.onnx")
    monkeypatch.setattr("job.export._difference", lambda *_: 0.5)
    with pytest.raises(JobError, match="does not match the network"):
        export(path, tmp_path / "model.onnx")
    assert not list(tmp_path.glob("*.onnx"))
