"""From a folder of images to a report, as a user types it: a target without labels, and classes of any names."""

import csv
import json
import math
import re

import pytest
import yaml

from job.evaluation.ensemble import read_predictions
from job.shards.manifest import load_manifest
from job.vocabulary import EMOTIONS
from tests.support import digits, trees
from tests.support.datasets import samples
from tests.support.running import SMALL, merge

# commands in this process: what they import is imported once
pytestmark = pytest.mark.slow


def flat_folder(root):
    """Labelled men, and women in one folder."""
    trees.folders(root, domains=("Male",), each=12)
    trees.unlabelled(root / "Female", 90)
    return ["folders", "--root", root], root / "Female"


def a_table(root):
    rows = []
    for i in range(174):
        path = trees.put(root / "the images" / f"{i}.png", i)
        male = i < 84
        rows.append(
            {"path": path.relative_to(root), "domain": "M" if male else "F", "emotion": EMOTIONS[i % 7] if male else ""}
        )
    trees.table(root, rows)
    return ["csv", "--root", root, "--source", "M", "--target", "F"], root / "the images"


def some_tars(root):
    trees.tars(root / "men", json=b'{"domain": "male"}')
    trees.tars(root / "women", shards=1, each=90, first=84, json=b'{"domain": "female"}', cls=None)
    return ["webdataset", "--root", root, "--option", f"classes={','.join(EMOTIONS)}"], None


def a_pair(root):
    men = trees.folders(root / "men", domains=("",), each=12)
    women = trees.unlabelled(root / "women", 90)
    return ["pair", "--source", f"folders:{men}", "--target", f"folders:{women}"], women


def train(job, tmp_path, shards, **changes):
    """Train a small network with the `train` command; returns the run folder."""
    content = {"name": "my run", "output": str(tmp_path / "my runs"), "data": {"shards": str(shards)}}
    content |= {"train": {"steps": 4, "eval_every": 4, "log_every": 1}, "evaluation": {"figures": True}}
    path = tmp_path / "a config.yaml"
    path.write_text(yaml.safe_dump(merge(merge(SMALL, content), changes)))
    code, _, errors = job("train", "--config", path)
    assert code == 0, errors
    return tmp_path / "my runs" / "my run"


def says_nan(text):
    """Whether a text, apart from embedded pictures, shows NaN or infinity."""
    return re.search(r"\bnan\b", re.sub(r"base64,[\w+/=]+", "", text), re.IGNORECASE) is not None


def numbers(value):
    """Every number in nested JSON."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers(part)
    elif isinstance(value, float | int):
        yield value


def written(job, tmp_path, make):
    """Write shards of a layout and look at them; return them, the manifest and a folder of the target's images."""
    words, pictures = make(tmp_path / "my data set")
    shards = tmp_path / "my shards"
    code, _, errors = job("shards", *words, "--out", shards, "--size", 48, "--workers", 1)
    assert code == 0, errors
    assert "84 images, all with a label" in errors
    assert "90 images, none with a label" in errors
    code, out, errors = job("inspect", shards, "--verify", "--sheet", tmp_path / "the sheet.png")
    assert code == 0, errors
    assert "target: 90 of 90 images have no label in the data set" in out
    return shards, load_manifest(shards), pictures


def predict_and_evaluate(job, tmp_path, checkpoint, pictures, *words):
    """Use a checkpoint on a target without labels."""
    code, out, errors = job("evaluate", "--checkpoint", checkpoint, "--out", tmp_path / "the figures.json", *words)
    assert code == 0, errors
    figures = json.loads((tmp_path / "the figures.json").read_text())
    assert figures["target"]["confusion"] is None
    assert figures["target"]["labelled"] == 0
    assert "accuracy" not in figures["target"]
    assert sum(figures["target"]["predicted"]) == figures["target"]["samples"]
    assert not says_nan(out)
    for card in tmp_path.rglob("model_card*.md"):
        assert not says_nan(card.read_text())
    if pictures is not None:
        code, out, errors = job("predict", "--checkpoint", checkpoint, pictures, "--out", tmp_path / "the guesses.csv")
        assert code == 0, errors


def test_a_target_without_a_label_anywhere(job, tmp_path):
    shards, _, pictures = written(job, tmp_path, flat_folder)
    run = train(job, tmp_path, shards)
    best = run / "checkpoints" / "best"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((run / "summary.json").read_text())
    for content in (*rows, summary):
        assert not [name for name in content if name.startswith("oracle/")]
        assert all(map(math.isfinite, numbers(content)))
    assert summary["selection/chosen_by"] == "infomax"
    predictions = read_predictions(run, summary["selection/chosen_step"])
    assert predictions.sum(1) == pytest.approx(1, abs=0.01)
    assert any(name.startswith("val/target_prediction_share/") for name in summary)

    predict_and_evaluate(job, tmp_path, best, pictures)
    assert list((run / "evaluation").glob("model_card*.md"))
    code, out, errors = job("export", "--checkpoint", best, "--out", tmp_path / "the model.onnx")
    assert code == 0, errors
    code, out, errors = job("report", run)
    assert code == 0, errors
    assert not says_nan((run / "report.html").read_text())
    assert "no target labels: not measured" in (run / "report.html").read_text()
    code, out, errors = job("compare", run, "--out", tmp_path / "the comparison")
    assert code == 0, errors
    assert not says_nan(out)
    assert "no target labels: not measured" in out


@pytest.mark.parametrize("make", [a_table, some_tars, a_pair], ids=lambda make: make.__name__)
def test_a_target_without_a_label_in_other_layouts(job, tmp_path, checkpoint_of, make):
    """What commands read of the shards is as of the folders above, which go all the way."""
    shards, manifest, pictures = written(job, tmp_path, make)
    _, of_folders, _ = written(job, tmp_path / "folders", flat_folder)
    assert manifest.class_names == of_folders.class_names
    assert manifest.unlabelled == of_folders.unlabelled
    assert manifest.left_out == of_folders.left_out == {}
    assert manifest.domains.keys() == of_folders.domains.keys()
    for domain, splits in of_folders.domains.items():
        assert manifest.domains[domain].keys() == splits.keys()
        for split in splits:
            assert manifest.samples(domain, split) == of_folders.samples(domain, split)
            assert manifest.labels(domain, split) == of_folders.labels(domain, split)
            assert manifest.labels("target", split) == 0
    for sample in samples(shards):
        assert (sample["emotion"] is None) == (sample["domain"] == "target")
    predict_and_evaluate(job, tmp_path, checkpoint_of(), pictures, "--shards", shards)


def test_digits_of_other_classes_all_the_way(job, tmp_path):
    """Eleven classes in folders, of which the target lacks two and knows one more: none is an emotion."""
    names = [str(number) for number in range(11)]
    root = trees.folders(tmp_path / "set", domains=("photos",), names=names, each=12)
    trees.folders(root, domains=("drawings",), names=[*names[:9], "unheard of"], each=8, first=5000)
    words = ["folders", "--root", root, "--source", "photos", "--target", "drawings", "--out", tmp_path / "shards"]
    code, _, errors = job("shards", *words)
    assert code == 2
    assert "--option classes=folders" in errors
    code, _, errors = job("shards", *words, "--option", "classes=folders", "--size", 32, "--workers", 1)
    assert code == 0, errors
    assert "the target has no labelled image of class 9, 10" in errors
    run = train(job, tmp_path, tmp_path / "shards")
    summary = json.loads((run / "summary.json").read_text())
    assert "oracle/test_target_recall/8" in summary
    assert not {"oracle/test_target_recall/9", "oracle/test_target_recall/10"} & set(summary)
    assert all(map(math.isfinite, numbers(summary)))
    best = run / "checkpoints" / "best"
    code, out, errors = job("evaluate", "--checkpoint", best)
    assert code == 0, errors
    assert "9 -  10 -" in out
    assert not says_nan(out)
    code, _, errors = job("predict", "--checkpoint", best, root / "drawings" / "3", "--out", tmp_path / "guesses.csv")
    assert code == 0, errors
    with open(tmp_path / "guesses.csv", newline="") as file:
        guesses = list(csv.DictReader(file))
    assert len(guesses) == 8
    assert set(guesses[0]) == {"path", "label", "confidence", *names}
    for command in (["export", "--checkpoint", best, "--out", tmp_path / "x.onnx"], ["report", run]):
        code, _, errors = job(*command)
        assert code == 0, errors
    assert job("compare", run, "--out", tmp_path / "comparison")[0] == 0


def test_mnist_to_usps_from_two_folders_of_png_files(job, tmp_path):
    """Real digits, of 28 and of 16 px; 100 images of each digit and 100 steps are enough."""
    mnist, usps = digits.mnist(tmp_path / "mnist", 100), digits.usps(tmp_path / "usps", 100)
    words = ["pair", "--source", f"folders:{mnist}", "--target", f"folders:{usps}", "--option", "classes=folders"]
    code, _, errors = job("shards", *words, "--out", tmp_path / "shards", "--size", 28, "--workers", 1)
    assert code == 0, errors
    manifest = load_manifest(tmp_path / "shards")
    assert manifest.class_names == tuple("0123456789")
    assert sum(manifest.samples("target", split) for split in manifest.domains["target"]) == 1000
    changes = {
        "data": {"global_batch_size": 64, "streams": 8},
        "model": {"backbone": "mnist", "batch_norm": "mixed"},
        "objective": {"lambda_max": 0.3},
        "optimizer": {"name": "adamw", "lr": 0.005},
        "train": {"steps": 100, "eval_every": 50, "checkpoint_every": 50, "log_every": 50},
    }
    run = train(job, tmp_path, tmp_path / "shards", **changes)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["test/source_accuracy"] > 0.7
    assert summary["oracle/test_target_accuracy"] > 0.3, "chance is 0.1"
    assert [name for name in summary if name.startswith("oracle/test_target_recall/")] == [
        f"oracle/test_target_recall/{digit}" for digit in range(10)
    ]
    best = run / "checkpoints" / "best"
    code, _, errors = job("predict", "--checkpoint", best, usps / "7", "--out", tmp_path / "sevens.csv")
    assert code == 0, errors
    assert job("export", "--checkpoint", best, "--out", tmp_path / "digits.onnx")[0] == 0
