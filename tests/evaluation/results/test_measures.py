"""Measures against scikit-learn and by hand; intervals by a bootstrap of subjects; McNemar's test."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from job.evaluation.latex import plain, table
from job.evaluation.results import measures
from job.evaluation.results.bootstrap import clusters_of, one_interval
from job.evaluation.results.describe import describe_domain, describe_gap
from job.evaluation.results.measures import Sums
from job.evaluation.results.pair import compare_pair, paired_interval
from job.evaluation.rows import RowCollector, Rows
from job.system.errors import JobError


def rows(predicted, labels, classes=3, confidence=0.8, prefix="k") -> Rows:
    rest = (1 - confidence) / (classes - 1)
    p = np.full((len(predicted), classes), rest)
    p[np.arange(len(predicted)), predicted] = confidence
    return Rows([f"{prefix}{i}" for i in range(len(labels))], np.array(labels), np.log(p).astype(np.float32))


@pytest.fixture
def drawn() -> Rows:
    rng = np.random.default_rng(0)
    labels = rng.choice(4, 300, p=(0.5, 0.3, 0.2, 0.0))
    logs = rng.normal(size=(300, 4)) + 1.5 * np.eye(4)[labels]
    logs[:, 3] -= 9  # never shown, never predicted
    return Rows([str(i) for i in range(300)], labels, np.log(np.exp(logs) / np.exp(logs).sum(1, keepdims=True)))


def test_measures_agree_with_scikit_learn(drawn):
    described = describe_domain(clusters_of([(drawn, [None] * 300)]), "abcd")
    assert described["accuracy"]["value"] == pytest.approx(accuracy_score(drawn.labels, drawn.predicted))
    assert described["macro_f1"]["value"] == pytest.approx(f1_score(drawn.labels, drawn.predicted, average="macro"))
    precision, recall, f1, images = precision_recall_fscore_support(drawn.labels, drawn.predicted, labels=range(3))
    for number, name in enumerate("abc"):
        found = described["classes"][name]
        assert (found["precision"], found["recall"], found["f1"]) == pytest.approx(
            (precision[number], recall[number], f1[number])
        )
        assert found["images"] == images[number]
        low, high = found["recall_interval"]
        assert low < found["recall"] < high
    assert described["classes"]["d"]["recall"] is None
    assert described["classes"]["d"]["recall_interval"] == [None, None]


def test_the_calibration_error_by_hand():
    """Half are right where the network is sure to 0.8: the gap is 0.3 there; 0.6 and right: 0.4."""
    logs = np.log(np.array([[0.8, 0.2]] * 4 + [[0.6, 0.4]] * 2))
    sums = Sums.of(logs, np.array([0, 1, 0, 1, 0, 0]), np.zeros(6, int), 1).total()
    assert float(measures.expected_calibration_error(sums)) == pytest.approx((4 * 0.3 + 2 * 0.4) / 6)


def test_subjects_are_drawn_whole():
    """Ten people of ten images each, all right or all wrong: ten observations, not a hundred."""
    found = rows([0] * 100, np.repeat([0, 1] * 5, 10))
    by_subject = clusters_of([(found, [f"s{i // 10}" for i in range(100)])])
    by_image = clusters_of([(found, [None] * 100)])
    wide, narrow = (one_interval(measures.accuracy, clusters.draws()) for clusters in (by_subject, by_image))
    assert wide.high - wide.low == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 10), rel=0.1)
    assert narrow.high - narrow.low == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 100), rel=0.1)
    assert (by_subject.subjects, by_subject.single) == (10, 0)
    assert (by_image.subjects, by_image.single) == (0, 100)


@pytest.mark.parametrize(("predicted", "end"), [(0, (0.510, 1.0)), (1, (0.0, 0.490))])
def test_four_people_of_whom_all_are_right_or_wrong_leave_room_for_a_fifth(predicted, end):
    """Every draw is the same, which is no certainty: Wilson's interval of four observations."""
    found = clusters_of([(rows([predicted] * 40, [0] * 40), [f"s{i // 10}" for i in range(40)])])
    described = describe_domain(found, "abc")
    assert described["accuracy"]["interval"] == pytest.approx(end, abs=0.001)
    assert described["classes"]["a"]["recall_interval"] == pytest.approx(end, abs=0.001)
    assert described["classes"]["b"]["recall_interval"] == [None, None]


def test_people_who_are_all_alike_leave_the_interval_of_the_draws():
    half = clusters_of([(rows([0, 1] * 20, [0] * 40), [f"s{i // 10}" for i in range(40)])])
    assert describe_domain(half, "abc")["accuracy"]["interval"] == [0.5, 0.5]
    one = clusters_of([(rows([0, 1] * 20, [0] * 40), ["s"] * 40)])
    assert describe_domain(one, "abc")["accuracy"]["interval"] == pytest.approx((0.055, 0.945), abs=0.001)


def test_two_networks_that_never_differ_may_differ_on_another_person():
    names = [f"s{i // 10}" for i in range(40)]
    assert paired_interval(np.zeros(40), names) == pytest.approx((-0.490, 0.490), abs=0.001)
    assert paired_interval(np.ones(40), names) == pytest.approx((0.510, 1.0), abs=0.001)


def test_a_class_of_two_images_is_less_certain_than_the_whole():
    described = describe_domain(clusters_of([(rows([0] * 38 + [1] * 2, [0] * 38 + [1] * 2), [None] * 40)]), "abc")
    (low, _), (rare, _) = described["accuracy"]["interval"], described["classes"]["b"]["recall_interval"]
    assert (low, rare) == (pytest.approx(0.912, abs=0.001), pytest.approx(0.342, abs=0.001))


def test_a_million_images_are_few_kinds_with_the_same_sums(drawn):
    grouped = clusters_of([(drawn, [None] * 300)])
    assert len(grouped.times) < 150
    assert grouped.times.sum() == 300
    whole = Sums.of(drawn.log_probabilities, drawn.labels, np.zeros(300, int), 1).total()
    for name, values in vars(grouped.total).items():
        np.testing.assert_allclose(values, getattr(whole, name), err_msg=name)


def test_an_image_in_several_runs_is_one_cluster():
    one, other = rows([0, 1], [0, 0]), rows([0, 0], [0, 0])
    both = clusters_of([(one, [None, "x"]), (other, [None, "x"])])
    assert (both.subjects, both.single) == (1, 1)
    assert float(measures.accuracy(both.total)) == 0.75


def test_images_without_a_label_do_not_count():
    found = clusters_of([(rows([0, 1, 2], [0, 0, -1]), ["a", "b", "c"])])
    assert found.subjects == 2
    assert found.total.images.sum() == 2


def test_the_gap_is_that_of_independent_subjects():
    source, target = (
        clusters_of([(rows([0] * 100, labels), [None] * 100)]) for labels in ([0] * 90 + [1] * 10, [0] * 70 + [1] * 30)
    )
    gap = describe_gap(source, target)
    assert gap["value"] == pytest.approx(0.2)
    deviation = np.sqrt(0.9 * 0.1 / 100 + 0.7 * 0.3 / 100)
    assert gap["interval"] == pytest.approx([0.2 - 1.96 * deviation, 0.2 + 1.96 * deviation], abs=0.02)


def test_mcnemar_counts_the_images_that_one_alone_predicts_rightly():
    labels = [0] * 20
    one, other = rows([0] * 10 + [1] * 10, labels), rows([0] * 8 + [1] * 2 + [0] * 9 + [1], labels)
    result = compare_pair(one, other, [f"s{i % 5}" for i in range(20)])
    assert (result["only_first_right"], result["only_second_right"]) == (2, 9)
    assert result["mcnemar_p"] == pytest.approx(2 * (1 + 11 + 55) / 2**11)  # binomial, 2 or fewer of 11, two-sided
    assert result["difference"] == pytest.approx(7 / 20)
    low, high = result["difference_interval"]
    assert low < 7 / 20 < high
    assert compare_pair(one, one, [None] * 20)["mcnemar_p"] == 1.0
    with pytest.raises(JobError, match="different images"):
        compare_pair(one, rows([0] * 20, labels, prefix="other"), [None] * 20)
    with pytest.raises(JobError, match="no labels"):
        compare_pair(rows([0], [-1]), rows([0], [-1]), [None])


def test_latex_shows_names_literally():
    assert plain("50 % of a_b & {c} \\ ~^ $x#") == (
        r"50 \% of a\_b \& \{c\} \textbackslash{} \textasciitilde{}\textasciicircum{} \$x\#"
    )
    lines = table(["class", "recall"], [["a&b", "0.5"]], ["a note\nof two lines"]).splitlines()
    assert lines[:3] == ["% a note of two lines", r"\begin{tabular}{lr}", r"\toprule"]
    assert r"a\&b & 0.5 \\" in lines


def test_the_rows_of_all_ranks_are_those_of_the_split_in_order(monkeypatch):
    """Of three ranks the last has no image; each rank adds its part of the split in batches."""
    parts, whole = [], rows([0, 1, 2, 0, 1], [0, 1, -1, 0, 2])
    monkeypatch.setattr("job.evaluation.rows.gather_object", lambda own: parts.extend(own) or list(parts))
    for batches in ([slice(0, 2), slice(2, 3)], [slice(3, 5)], []):
        collector = RowCollector()
        for batch in batches:
            labels, logs = (torch.from_numpy(each[batch]) for each in (whole.labels, whole.log_probabilities))
            collector.add(whole.keys[batch], labels, logs)
        found = collector.gather()
    assert found.keys == whole.keys
    assert found.labels.tolist() == whole.labels.tolist()
    np.testing.assert_array_equal(found.log_probabilities, whole.log_probabilities)
