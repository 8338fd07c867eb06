"""Label-free scores: the checkpoint that each would choose, and whether they agree."""

import pytest
from scipy.stats import spearmanr

from job.evaluation.agreement import agreement, label_free_scores, rank_correlation


def test_rank_correlation_agrees_with_scipy():
    one, other = [0.1, 0.4, 0.4, 0.9, 0.2], [3.0, 1.0, 2.0, 7.0, 2.0]
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None


def test_each_score_chooses_its_latest_best_evaluation():
    rows = [
        {"trainer/step": step, "selection/infomax": one, "selection/source_accuracy": other}
        for step, one, other in ((10, 0.5, 0.9), (20, 0.8, 0.7), (30, 0.8, 0.6), (40, 0.7, 0.5))
    ]
    first, second = agreement(label_free_scores(rows, []), "infomax")
    assert (first.score, first.step, first.correlation) == ("infomax", 30, None)
    assert (second.score, second.step, second.value) == ("source_accuracy", 10, 0.9)
    assert second.correlation < 0


def test_scores_that_need_target_labels_are_excluded():
    rows = [{"trainer/step": 1, "selection/target_accuracy": 0.5}]
    evaluations = [{"step": 1, "class_names": ["a", "b"], "target": {"mean_entropy": 0.0}}]
    assert label_free_scores(rows, evaluations) == {"confidence": {1: 1.0}}
