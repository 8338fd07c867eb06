"""From files to shards, a model, its evaluation, predictions and an export that agree on every image."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import simplejpeg
import webdataset
import yaml

from job.shards.manifest import load_manifest
from tests.support import trees
from tests.support.datasets import build
from tests.support.running import SMALL, merge

pytestmark = pytest.mark.slow
SIZE = 32
NAMES = ("joy", "fear", "anger")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """`shards[gray]`: shards of one folder of pictures, in colour or without; `shards["files"]`: the folder."""
    root = tmp_path_factory.mktemp("set")
    trees.folders(root / "files", names=NAMES, each=12)
    options = {"options": {"classes": ",".join(NAMES)}, "size": SIZE}
    for gray in (False, True):
        build("folders", root / "files", root / str(gray), gray=gray, **options)
    return {"files": root / "files", False: root / "False", True: root / "True"}


def stored(out):
    """The source, domain, split, class and JPEG of every sample in a folder of shards."""
    manifest = load_manifest(out)
    for domain, splits in manifest.domains.items():
        for split, infos in splits.items():
            paths = [str(out / info.path) for info in infos]
            for sample in webdataset.WebDataset(paths, shardshuffle=False):
                source = json.loads(sample["json"])["source"]
                yield source, domain, split, manifest.class_names[int(sample["cls"])], sample["jpg"]


@pytest.mark.parametrize(
    ("model", "data", "gray"),
    [
        ({"backbone": "timm/test_vit"}, {"augment": {"crop": [0.5, 1.0], "erase": 0.5, "grayscale": 0.2}}, False),
        ({"backbone": "iresnet18"}, {}, True),
        ({"backbone": "compact", "batch_norm": "mixed"}, {"standardize": True}, True),
    ],
    ids=["timm", "iresnet-gray", "standardize-gray"],
)
def test_evaluate_predict_and_export_agree_on_every_image(job, tmp_path, shards, model, data, gray):
    content = {"name": "run", "output": str(tmp_path), "data": {"shards": str(shards[gray]), **data}}
    content |= {
        "train": {"steps": 2, "eval_every": 2, "checkpoint_every": 2},
        "model": {"batch_norm": "mixed", **model},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(merge(SMALL, content)))
    best = tmp_path / "run" / "checkpoints" / "best"
    for words in (
        ("train", "--config", tmp_path / "c.yaml"),
        ("evaluate", "--checkpoint", best, "--out", tmp_path / "figures.json"),
        ("predict", "--checkpoint", best, shards["files"], "--out", tmp_path / "predictions.csv"),
        ("export", "--checkpoint", best, "--out", tmp_path / "model.onnx"),
    ):
        code, _, errors = job(*words)
        assert code == 0, errors
    with open(tmp_path / "predictions.csv", newline="") as file:
        predicted = {str(Path(row["path"]).relative_to(shards["files"])): row for row in csv.DictReader(file)}
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    assert about["jpeg_subsampling"] == ("Gray" if gray else "444")
    read = list(stored(shards[gray]))
    inputs = np.stack([simplejpeg.decode_jpeg(jpeg, "RGB") for *_, jpeg in read]).transpose(0, 3, 1, 2) / np.float32(
        255
    )
    (exported,) = session.run(["probabilities"], {"images": inputs})
    names = load_manifest(shards[gray]).class_names
    rows = [[float(predicted[source][name]) for name in names] for source, *_ in read]
    np.testing.assert_allclose(exported, rows, atol=1e-3)
    figures = json.loads((tmp_path / "figures.json").read_text())
    for domain in ("source", "target"):
        tested = [(source, truth) for source, *where, truth, _ in read if where == [domain, "test"]]
        counts = Counter((truth, predicted[source]["label"]) for source, truth in tested)
        assert figures[domain]["confusion"] == [[counts[truth, guess] for guess in names] for truth in names]
        assert len(tested) == figures[domain]["samples"] > 0


def test_a_model_of_grey_images_refuses_shards_in_colour(job, tmp_path, shards):
    content = {"name": "run", "output": str(tmp_path), "data": {"shards": str(shards[True])}, "train": {"steps": 1}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(merge(SMALL, content)))
    assert job("train", "--config", tmp_path / "c.yaml")[0] == 0
    code, _, errors = job("evaluate", "--checkpoint", tmp_path / "run/checkpoints/best", "--shards", shards[False])
    assert code == 2
    assert "is in colour, and the model was trained without: write the shards with --gray" in errors
