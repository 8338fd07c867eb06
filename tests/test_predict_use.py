"""`predict` as people use it: several faces in a photo, any input and output, explanations, adaptation."""

import csv
import io
import json
import re
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml
from accelerate.state import AcceleratorState, GradientState, PartialState
from click.testing import CliRunner
from PIL import Image

from job.__main__ import main
from job.evaluation.load import load_model
from job.predict import Options, predict, predict_image
from job.prediction import adapt
from job.prediction.images import Picture
from job.prediction.prepare import read, settings_of
from job.shards.manifest import load_manifest
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.whole_split import read_split
from job.shards.writing import face_model
from tests.support.face_model import photo, write_face_model
from tests.support.running import REPO, SMALL, merge

pytestmark = pytest.mark.slow
NAMES = ("joy", "anger")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder for what the tests share; the face detector is kept in it."""
    folder = tmp_path_factory.mktemp("use")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(face_model, "CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def model(place):
    return write_face_model(place / "face.onnx")


@pytest.fixture(scope="module")
def photos(place):
    """Turned faces of two emotions in photos, of men and of women."""
    for domain in ("Male", "Female"):
        for label, emotion in enumerate(NAMES):
            for i in range(24):
                path = place / "photos" / domain / emotion / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                number = i % 8 + 8 * label
                Image.fromarray(photo([(number, 90 + i, 95, 100 + i, 10 * i - 100)], (190, 210))).save(path)
    return place / "photos"


@pytest.fixture(scope="module")
def run(place, photos, model):
    """A run on aligned shards of the photos, trained for eight steps."""

    def job(*words):
        result = CliRunner().invoke(main, [str(word) for word in words], standalone_mode=False)
        assert not result.exception, result.stderr
        assert not result.return_value

    words = ["folders", "--root", photos, "--out", place / "shards", "--size", 48, "--workers", 1, "--shards", 4]
    words += ["--crop", "face", "--face-model", model, "--option", "classes=joy,anger", "--option", "val=0.45"]
    job("shards", *words)
    content = {"name": "run", "output": str(place / "runs"), "data": {"shards": str(place / "shards")}}
    content |= {"model": {"batch_norm": "mixed"}, "train": {"steps": 8, "eval_every": 4}}
    (place / "config.yaml").write_text(yaml.safe_dump(merge(SMALL, content)))
    job("train", "--config", place / "config.yaml")
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    return place / "runs" / "run"


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def numbers(row):
    return [float(row[name]) for name in NAMES]


def test_shards_training_evaluation_prediction_and_export_agree_on_aligned_faces(
    job, tmp_path, monkeypatch, place, photos, model, run
):
    best, shards = run / "checkpoints" / "best", place / "shards"
    loaded = load_model(best)
    manifest = load_manifest(shards)
    assert loaded.alignment == manifest.alignment is not None

    # the shards' samples and the photos they come from
    everything = [photos, shards]
    code, out, errors = job("predict", "--checkpoint", best, *everything, "--out", tmp_path / "all.csv")
    assert code == 0, errors
    assert re.search(r"192 predicted, 0 skipped, \d+ images/s", out)
    rows = {row["path"]: row for row in table(tmp_path / "all.csv")}
    stored, origins = {}, {}
    for domain, splits in manifest.domains.items():
        for split in splits:
            labelled = manifest.labels(domain, split) > 0
            for images, labels, keys in read_split(manifest, ShardStore(shards), domain, split, labelled=labelled):
                stored |= {f"{shards}/{key}": (domain, split, int(label)) for key, label in zip(keys, labels)}
                origins |= {image.tobytes(): f"{shards}/{key}" for image, key in zip(images.numpy(), keys)}
    settings = settings_of(loaded)
    for path in photos.rglob("*.png"):
        (prepared,) = read(Picture(path, path), loaded, settings)
        twin = rows[origins[prepared.pixels.tobytes()]]
        assert numbers(rows[str(path)]) == numbers(twin), "the very pixels of the shard"
        assert float(rows[str(path)]["face_width"]) > 50
        assert twin["face_width"] == ""

    # evaluate counts what predict says
    code, _, errors = job("evaluate", "--checkpoint", best, "--out", tmp_path / "evaluation.json")
    assert code == 0, errors
    confusion = np.zeros((2, 2), int)
    for key, (domain, split, label) in stored.items():
        if (domain, split) == ("target", "test"):
            confusion[label, NAMES.index(rows[key]["label"])] += 1
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    assert evaluation["target"]["confusion"] == confusion.tolist()

    # the exported file, by the code of its page
    monkeypatch.chdir(tmp_path)
    assert job("export", "--checkpoint", best, "--out", "model.onnx")[0] == 0
    (tmp_path / "face_model.onnx").write_bytes(model.read_bytes())
    code = re.search(r"^```python\n(.*?)^```", (REPO / "docs" / "export.md").read_text(), re.M | re.S)[1]
    for path in sorted(photos.rglob("*.png"))[::9]:
        (tmp_path / "photo.jpg").write_bytes(path.read_bytes())
        page: dict = {}
        exec(code, page)
        expected = list(predict_image(loaded, path).probabilities.values())
        np.testing.assert_allclose(page["probabilities"], expected, atol=1e-4)
        np.testing.assert_allclose(numbers(rows[str(path)]), expected, atol=1e-4)


def test_a_photo_of_12_megapixels_turned_by_exif_has_a_row_for_each_of_its_faces(job, tmp_path, run):
    small = photo([(3, 200, 260, 190, 25), (5, 440, 200, 130, -40)])
    upright = cv2.resize(small, (4000, 3000), interpolation=cv2.INTER_CUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to view
    path = tmp_path / "DSC_0001.JPG"
    Image.fromarray(np.rot90(upright).copy()).save(path, quality=92, exif=exif)
    out = tmp_path / "faces.jsonl"
    code, said, errors = job(
        "predict", "--checkpoint", run / "checkpoints" / "best", path, "--out", out, "--all-faces", "--explain",
        tmp_path / "why", "--sheet", tmp_path / "sheet.png",
    )  # fmt: skip
    assert code == 0, errors
    assert "2 predicted, 0 skipped" in said
    large, little = map(json.loads, out.read_text().splitlines())
    for row, (x, y) in ((large, (200, 260)), (little, (440, 200))):
        left, top, width, height = row["face"]["box"]
        assert (left + width / 2, top + height / 2) == pytest.approx((x * 6.25, y * 6.25), abs=120)
        assert len(row["face"]["points"]) == 5
        assert row["path"] == str(path)
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert 0 < row["calibrated_confidence"] < 1
    overlays = sorted(path.name for path in (tmp_path / "why").iterdir())
    assert overlays == [f"{n:06d}-DSC_0001-{row['label']}.jpg" for n, row in ((1, large), (2, little))]
    assert Image.open(tmp_path / "why" / overlays[0]).size == (192, 192)
    assert Image.open(tmp_path / "sheet.png").size[0] > 500


def test_the_python_code_of_the_page(tmp_path, monkeypatch, run, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo([(3, 200, 260, 190, 25), (5, 440, 200, 130, -40)])).save("photo.jpg", quality=95)
    imports, faces = re.findall(r"^```python\n(.*?)^```", (REPO / "docs" / "predict.md").read_text(), re.M | re.S)
    page: dict = {}
    exec(imports, page)
    page["model"] = page["load_model"](run / "checkpoints" / "best")
    exec(faces, page)
    assert len(page["faces"]) == 2
    assert re.fullmatch(r"\[\d \d\]\n", capsys.readouterr().out)


def test_the_other_options(job, tmp_path, monkeypatch, photos, run, capfd):
    best = run / "checkpoints" / "best"
    listed = b"\n".join(bytes(path) for path in sorted(photos.rglob("*.png")))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(listed)))
    assert predict(best, ["-"], tmp_path / "plain.csv").rows == 96
    assert "for class shares" not in capfd.readouterr().err
    predict(best, [photos], tmp_path / "calibrated.csv", Options(calibrated=True))
    assert re.search(r"notice: (not )?corrected for class shares", capfd.readouterr().err)
    plain, calibrated = ({row["path"]: row for row in table(tmp_path / f"{n}.csv")} for n in ("plain", "calibrated"))
    assert set(plain) == set(calibrated)
    assert "calibrated_confidence" not in next(iter(calibrated.values()))
    for path, row in plain.items():
        assert float(row["calibrated_confidence"]) == float(calibrated[path][row["label"]])
    monkeypatch.setattr(adapt, "ONE_CLASS", 1.0)  # after eight steps the network may predict one class alone
    predict(best, [photos], tmp_path / "adapted.csv", Options(adapt="bn"))
    adapted = {row["path"]: row for row in table(tmp_path / "adapted.csv")}
    assert "calibrated_confidence" not in next(iter(adapted.values()))
    assert any(numbers(adapted[path]) != numbers(row) for path, row in plain.items())
    for words, message in (
        (("--adapt", "bn", photos / "Male" / "joy"), "--adapt bn needs 64 images"),
        (("--adapt", "tent", "--calibrated", photos), "--calibrated and --adapt exclude each other"),
        (("--face-model", tmp_path / "absent.onnx", photos), "No such file"),
    ):
        code, _, errors = job("predict", "--checkpoint", best, *words, "--out", tmp_path / "no.csv")
        assert (code, message in errors) == (2, True), errors
    assert not (tmp_path / "no.csv").exists()


def test_options_that_a_checkpoint_does_not_allow_are_refused(job, tmp_path):
    old = REPO / "tests" / "support" / "run_of_version_0_1" / "old" / "checkpoints" / "best"
    for words, message in (
        (("--all-faces",), "--all-faces needs a model that was trained on cropped faces"),
        (("--calibrated",), "has no calibration"),
        (("--face-model", "x.onnx"), "were not aligned; leave it out"),
        (("--sheet", tmp_path / "x.txt"), "give the name of an image"),
    ):
        code, _, errors = job("predict", "--checkpoint", old, *words, tmp_path, "--out", tmp_path / "no.csv")
        assert (code, message in errors) == (2, True), errors
