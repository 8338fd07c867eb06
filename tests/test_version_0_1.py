"""Compatibility: a run folder written by version 0.1 resumes, evaluates, predicts, exports and draws its report."""

import csv
import json
import shutil

import pytest
from safetensors.torch import load_file

from job.__main__ import main
from job.config.load import load_config
from job.methods.build import renamed
from job.train import train
from tests.support.running import REPO, assert_same_weights

OLD = REPO / "tests" / "support" / "run_of_version_0_1"


@pytest.fixture
def old_run(tmp_path, monkeypatch):
    """A copy of a run that was killed after step 10 of 12, with its shards; the working directory is beside both."""
    shutil.copytree(OLD, tmp_path / "work", symlinks=True)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work" / "old"


def command(*words: str) -> int:
    return main([str(word) for word in words], standalone_mode=False) or 0


@pytest.mark.slow
def test_a_run_of_version_0_1_resumes_and_ends_with_the_same_weights(old_run):
    assert train(load_config("config.yaml")) == 0
    ended = load_file(old_run / "checkpoints" / "latest" / "model.safetensors")
    # another CPU sums in another order: equal to the last bits where it was recorded
    assert_same_weights(ended, renamed(load_file("final.safetensors")), tolerance=1e-4)
    rows = [json.loads(line) for line in (old_run / "metrics.jsonl").read_text().splitlines()]
    assert [row["trainer/step"] for row in rows] == [2, 4, 6, 8, 10, 12]
    assert json.loads((old_run / "summary.json").read_text())["selection/chosen_by"] == "infomax"


@pytest.mark.slow
def test_its_stored_configuration_resumes_it_too(old_run):
    assert train(load_config(old_run / "config.yaml")) == 0
    assert json.loads((old_run / "status.json").read_text())["status"] == "finished"


def test_its_checkpoint_evaluates_predicts_and_exports(old_run, faces_as_pictures, capsys):
    best = old_run / "checkpoints" / "best"
    assert command("evaluate", "--checkpoint", best, "--out", "figures.json") == 0
    assert json.loads((old_run.parent / "figures.json").read_text())
    assert command("predict", "--checkpoint", best, faces_as_pictures, "--out", "predictions.csv") == 0
    with open("predictions.csv", newline="") as file:
        assert len(list(csv.reader(file))) == 4
    assert command("export", "--checkpoint", best, "--out", "model.onnx") == 0
    assert (old_run.parent / "model.onnx").stat().st_size > 1000


def test_its_report_can_be_drawn(old_run):
    assert command("report", old_run) == 0
    assert "old" in (old_run / "report.html").read_text()
    assert (old_run / "figures" / "confusion_source.png").exists()


@pytest.fixture
def faces_as_pictures(tmp_path):
    """Three JPEG files."""
    import numpy as np
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    return folder
