"""The Python example of the README runs as written there, and agrees with the command."""

import csv
import re
import shutil

import pytest
from PIL import Image

from job.evaluation.load import load_model
from job.predict import predict, predict_image
from job.system.errors import JobError
from tests.support.running import REPO

RUN = REPO / "tests" / "support" / "run_of_version_0_1" / "old"
FENCE = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


def test_the_python_example_predicts_an_image(tmp_path, monkeypatch, capsys):
    (example,) = FENCE.findall((REPO / "README.md").read_text())
    assert len(example.splitlines()) <= 6
    checkpoint, picture = re.search(r'load_model\("(.+?)"\)', example), re.search(r'"([^"]+\.jpg)"', example)
    (tmp_path / checkpoint[1]).parent.mkdir(parents=True)
    shutil.copytree(RUN / "checkpoints" / "step_00000008", tmp_path / checkpoint[1])
    Image.linear_gradient("L").convert("RGB").save(tmp_path / picture[1])
    monkeypatch.chdir(tmp_path)

    variables: dict = {}
    exec(example, variables)
    prediction = variables["prediction"]
    classes = variables["model"].class_names
    assert tuple(prediction.probabilities) == classes
    assert abs(sum(prediction.probabilities.values()) - 1) < 1e-5
    assert prediction.confidence == max(prediction.probabilities.values()) == prediction.probabilities[prediction.label]
    assert prediction.label in capsys.readouterr().out


def test_one_image_and_the_command_predict_the_same(tmp_path):
    checkpoint = RUN / "checkpoints" / "step_00000008"
    picture = tmp_path / "face.jpg"
    Image.radial_gradient("L").convert("RGB").save(picture)
    predict(checkpoint, [picture], tmp_path / "predictions.csv")
    with open(tmp_path / "predictions.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    prediction = predict_image(load_model(checkpoint), picture)
    assert row["label"] == prediction.label
    for name, probability in prediction.probabilities.items():
        assert row[name] == f"{probability:.4f}"


def test_a_file_that_is_not_an_image_is_refused(tmp_path):
    (tmp_path / "face.jpg").write_text("text")
    with pytest.raises(JobError, match=r"cannot read .*face\.jpg"):
        predict_image(load_model(RUN / "checkpoints" / "step_00000008"), tmp_path / "face.jpg")
