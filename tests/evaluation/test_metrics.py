"""Metrics of a confusion matrix, scores, and the proxy A-distance."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from job.evaluation.a_distance import proxy_a_distance
from job.evaluation.metrics import accuracy, macro_f1, recall
from job.evaluation.selection import Evidence, mutual_information, scores
from job.evaluation.validate import validation_metrics
from tests.support.reports import report


def test_metrics_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 5, 400), rng.integers(0, 5, 400)
    matrix = confusion_matrix(truth, guess)
    assert accuracy(matrix) == pytest.approx(accuracy_score(truth, guess))
    assert macro_f1(matrix) == pytest.approx(f1_score(truth, guess, average="macro"))
    np.testing.assert_allclose(recall(matrix), recall_score(truth, guess, average=None))


def test_mutual_information_is_1_for_confident_diverse_predictions_and_0_for_collapsed_or_uniform_ones():
    assert mutual_information(report(np.eye(4))) == pytest.approx(1)
    assert mutual_information(report(np.eye(4)[[2, 2, 2, 2]])) == pytest.approx(0, abs=1e-9)
    assert mutual_information(report(np.full((4, 4), 0.25))) == pytest.approx(0, abs=1e-9)


def test_scores_without_target_labels():
    source, target = report(np.eye(3), [0, 1, 1]), report(np.eye(3))
    assert scores(Evidence(source, target)) == {
        "source_accuracy": pytest.approx(2 / 3),
        "infomax": pytest.approx(2 / 3 + 1),
        "entropy": pytest.approx(0),
    }


def test_metrics_that_need_target_labels_are_named_oracle_or_absent():
    names = ("a", "b", "c")
    source = report(np.eye(3), [0, 1, 2])
    unlabelled = validation_metrics(Evidence(source, report(np.eye(3))), names, "infomax")
    assert not [name for name in unlabelled if "oracle" in name or name == "selection/target_accuracy"]
    labelled = validation_metrics(Evidence(source, report(np.eye(3), [0, 1, 1])), names, "infomax")
    extra = set(labelled) - set(unlabelled)
    assert extra
    assert all(name.startswith("oracle/") for name in extra)
    assert {name: labelled[name] for name in unlabelled} == unlabelled


def test_a_distance_of_equal_and_of_separate_domains():
    rng = np.random.default_rng(0)
    same = proxy_a_distance(rng.normal(size=(800, 6)), rng.normal(size=(800, 6)))
    apart = proxy_a_distance(rng.normal(size=(800, 6)), rng.normal(size=(800, 6)) + 4)
    assert same < 0.3
    assert apart > 1.9
