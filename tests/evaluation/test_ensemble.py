"""The agreement with the ensemble of compared models (Hu et al. 2024), and the predictions that it needs."""

import json

import numpy as np
import pytest
import yaml

from job.evaluation import ensemble
from job.evaluation.compare import compare
from job.evaluation.compare_scores import preferred, score_table
from job.evaluation.ensemble import agreement, read_predictions, write_predictions
from tests.support.finished_runs import run_folder


def sure(*classes: int, confidence: float = 0.8) -> np.ndarray:
    """Predictions [n, 3] of n images, each with the same confidence."""
    others = (1 - confidence) / 2
    return np.where(np.eye(3, dtype=bool)[list(classes)], confidence, others).astype(np.float32)


def test_agreement_by_hand():
    found = agreement({"a": [sure(0, 1, 2, 0)], "b": [sure(0, 1, 2, 1)], "c": [sure(0, 1, 1, 1)]})
    assert found == {"a": [0.75], "b": [1.0], "c": [0.75]}  # together they say 0, 1, 2, 1


def test_confident_predictions_count_more():
    for confidence, majority in ((0.9, 1.0), (0.4, 0.0)):
        one, two = sure(0, confidence=0.99), sure(1, confidence=confidence)
        found = agreement({"a": [one], "b": [two], "c": [two]})
        assert found == {"a": [1 - majority], "b": [majority], "c": [majority]}


def test_a_method_does_not_count_more_with_more_models():
    found = agreement({"a": [sure(0)] * 5, "b": [sure(1)], "c": [sure(1)]})
    assert found == {"a": [0.0] * 5, "b": [1.0], "c": [1.0]}


@pytest.mark.parametrize(
    "groups",
    [
        {},
        {"a": [], "b": []},
        {"a": [sure(0)], "b": [sure(0)]},  # two models
        {"a": [sure(0), None], "b": [sure(0)], "c": [sure(1)]},  # a run of an earlier version
        {"a": [sure(0, 1)], "b": [sure(0)], "c": [sure(1)]},  # other images
        {"a": [sure()], "b": [sure()], "c": [sure()]},  # no images
    ],
)
def test_without_comparable_predictions_there_is_none(groups):
    assert agreement(groups) == {}


def test_predictions_are_read_as_they_were_written(tmp_path, caplog):
    (tmp_path / "evaluation").mkdir()
    probabilities = np.random.default_rng(0).dirichlet(np.ones(7), 40).astype(np.float32)
    write_predictions(tmp_path, 300, np.log(probabilities))
    np.testing.assert_allclose(read_predictions(tmp_path, 300), probabilities, rtol=1e-3, atol=1e-7)
    assert read_predictions(tmp_path, 600) is None
    (path,) = (tmp_path / "evaluation").iterdir()
    path.write_bytes(path.read_bytes()[:60])
    assert read_predictions(tmp_path, 300) is None
    assert "is damaged and skipped" in caplog.text


def test_a_full_disk_is_a_warning(tmp_path, monkeypatch, caplog):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(ensemble, "write_atomically", full)
    write_predictions(tmp_path, 300, np.zeros((2, 3)))
    assert "No space left on device" in caplog.text


@pytest.fixture
def runs(tmp_path):
    """Four finished runs with predictions; only train_on_target, which reads target labels, disagrees with most."""
    guesses = {"source_only": (0, 0, 2), "dann": (0, 1, 2), "mcc": (0, 1, 2), "train_on_target": (2, 2, 1)}
    for name, classes in guesses.items():
        run_folder(tmp_path / name, name, 0, target=None)
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        (tmp_path / name / "summary.json").write_text(json.dumps(summary | {"selection/chosen_step": 20}))
        (tmp_path / name / "evaluation").mkdir()
        write_predictions(tmp_path / name, 20, np.log(sure(*classes)))
        write_predictions(tmp_path / name, 30, np.log(sure(1, 1, 1)))
    return [tmp_path / name for name in guesses]


def test_a_comparison_shows_it_for_all_but_those_that_read_target_labels(runs):
    found = compare(runs)
    scores = {name: row["scores"]["ensemble"] for name, row in found["objectives"].items()}
    assert scores == {"source_only": pytest.approx(2 / 3), "dann": 1.0, "mcc": 1.0, "train_on_target": None}
    assert preferred(found["objectives"])["ensemble"] in ("dann", "mcc")
    assert score_table(found)[0][:2] == ["objective", "ensemble"]


def test_runs_of_other_folds_saw_other_images(runs):
    config = yaml.safe_load((runs[1] / "config.yaml").read_text())
    (runs[1] / "config.yaml").write_text(yaml.safe_dump(config | {"data": {"fold": 1}}))
    assert {row["scores"]["ensemble"] for row in compare(runs)["objectives"].values()} == {None}
