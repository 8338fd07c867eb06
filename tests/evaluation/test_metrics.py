"""Metrics of a confusion matrix, scores, and the proxy A-distance."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from job.evaluation.a_distance import a_distance, domain_metrics, probe_error
from job.evaluation.metrics import accuracy, macro_f1, recall
from job.evaluation.samples import Faces, Sample
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
    same = a_distance(probe_error(rng.normal(size=(800, 6)), rng.normal(size=(800, 6))))
    apart = a_distance(probe_error(rng.normal(size=(800, 6)), rng.normal(size=(800, 6)) + 4))
    assert same < 0.3
    assert apart > 1.9


def kept(features, probability):
    none = Faces(np.zeros((0, 1, 1, 3), np.uint8), [], np.zeros(0, int), np.zeros(0, int), np.zeros(0))
    rows = len(features)
    logs, predicted = np.zeros((rows, 2)), np.zeros(rows, int)
    return Sample(features, logs, predicted, predicted, np.asarray(probability), none, none)


def test_probe_and_domain_classifier_are_compared_on_the_same_held_out_rows():
    rng = np.random.default_rng(0)
    odd = np.arange(200) % 2 == 1
    right = odd & (np.arange(200) % 4 == 1)  # half of the odd rows; the even rows, all wrong, do not count
    source = kept(rng.normal(size=(200, 6)), np.where(right, 0.1, 0.9))
    target = kept(rng.normal(size=(200, 6)) + 4, np.where(odd, 0.9, 0.1))
    metrics = domain_metrics(source, target)
    assert metrics["domain/classifier_error"] == (0.5 + 0.0) / 2
    assert metrics["domain/probe_error"] < 0.02
    assert metrics["domain/a_distance"] == 2 * (1 - 2 * metrics["domain/probe_error"])


def test_without_a_domain_classifier_there_is_only_the_probe_s_error():
    rng = np.random.default_rng(0)
    source, target = (kept(rng.normal(size=(100, 6)), []) for _ in range(2))
    assert set(domain_metrics(source, target)) == {"domain/a_distance", "domain/probe_error"}
    assert domain_metrics(kept(rng.normal(size=(19, 6)), []), target) == {}
    assert domain_metrics(None, target) == {}


def test_errors_of_values_that_are_not_finite_are_nan():
    source, target = kept(np.ones((40, 3)), np.full(40, np.nan)), kept(np.full((40, 3), np.inf), np.full(40, 0.5))
    metrics = domain_metrics(source, target)
    assert len(metrics) == 3
    assert np.isnan(list(metrics.values())).all()
