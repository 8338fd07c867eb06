"""The label-free scores, each on evaluations made by hand."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score

from job.config.training import LABEL_FREE_SCORES, Score
from job.evaluation.samples import Faces, Sample
from job.evaluation.selection import SCORES, Evidence, scores
from job.evaluation.selection.dev import density_ratio, risk
from job.evaluation.selection.evidence import Mixes
from job.evaluation.selection.on_neighbours import hopkins, unevenness
from tests.support.reports import report

NONE = Faces(np.zeros((0, 1, 1, 3), np.uint8), [], *(np.zeros(0),) * 3)


def evaluated(features, logits, labels=None):
    """A report with its sample, of features [n, width] and class logits [n, C]."""
    logs = torch.as_tensor(logits).log_softmax(1).numpy().astype(np.float32)
    labels = np.full(len(logs), -1) if labels is None else np.asarray(labels)
    sample = Sample(np.asarray(features, np.float32), logs, labels, logs.argmax(1), np.zeros(0), NONE, NONE)
    return replace(report(np.exp(logs), None if (labels < 0).any() else labels), sample=sample)


def blobs(n=210, classes=3, spread=0.1, sharpness=8.0, seed=0):
    """Clustered features, logits that follow the clusters, and the clusters."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    features = 4 * np.eye(classes, 5)[labels] + spread * rng.normal(size=(n, 5))
    return features, sharpness * np.eye(classes)[labels] + 0.1 * rng.normal(size=(n, classes)), labels


def evidence(**changes) -> Evidence:
    features, logits, labels = blobs()
    mixes = Mixes(np.arange(40) % 3, np.arange(40) % 3)
    made = Evidence(evaluated(features, logits, labels), evaluated(features, logits), mixes, np.eye(3, 5))
    return made._replace(**changes)


def test_registry_and_configuration_have_the_same_names():
    assert tuple(SCORES) == LABEL_FREE_SCORES
    assert set(get_args(Score)) == {*SCORES, "target_accuracy"}


def test_every_score_is_finite_repeatable_and_reads_no_target_label():
    features, logits, labels = blobs()
    one, again = scores(evidence()), scores(evidence())
    assert set(one) == set(SCORES)
    assert np.isfinite(list(one.values())).all()
    assert one == again
    labelled = scores(evidence(target=evaluated(features, logits, labels)))
    assert {name: labelled[name] for name in one} == one
    assert set(labelled) - set(one) == {"target_accuracy"}


@pytest.mark.parametrize("name", [name for name in SCORES if name not in ("source_accuracy", "snd", "dev")])
def test_a_score_prefers_a_clear_model_to_an_undecided_one(name):
    rng = np.random.default_rng(1)
    undecided = evaluated(rng.uniform(size=(210, 5)), rng.normal(size=(210, 3)) * 0.1)
    mixes = Mixes(np.arange(40) % 3, np.zeros(40, int))
    assert SCORES[name](evidence()) > SCORES[name](evidence(target=undecided, mixes=mixes))


def test_a_collapsed_model_scores_worst_or_not_at_all():
    features, logits, _ = blobs()
    collapsed = evidence(target=evaluated(features, logits + np.array([50, 0, 0])), mixes=Mixes(*np.zeros((2, 0), int)))
    values = scores(collapsed)
    assert "mixval" not in values
    assert "snd" not in values
    assert values["class_ami"] == 0
    assert values["infomax"] == pytest.approx(1, abs=1e-6)  # accuracy on the source, and no information
    assert values["bnm"] == pytest.approx(1 / np.sqrt(3), abs=1e-3)


def test_scores_of_few_samples_or_broken_features_are_left_out():
    few = evaluated(*(part[:8] for part in blobs()))
    assert set(scores(evidence(source=few, target=evaluated(*blobs()[:2])))) == set(SCORES) - {"dev"}
    features, logits, labels = blobs()
    features[3] = np.nan
    broken = evaluated(features, logits, labels)
    left = {"infomax", "entropy", "mixval", "bnm", "snd", "source_accuracy"}
    assert set(scores(evidence(source=broken, target=evaluated(features, logits)))) == left
    assert set(scores(Evidence(report(np.eye(3), [0, 1, 2]), report(np.eye(3))))) == {
        "infomax",
        "entropy",
        "source_accuracy",
    }


def test_constant_features_have_no_transfer_score():
    _, logits, _ = blobs()
    constant = evaluated(np.ones((210, 5)), logits)
    assert set(scores(evidence(target=constant))) == set(SCORES) - {"transfer_score"}


def test_soft_neighbourhood_density_agrees_with_its_definition():
    features, logits, _ = blobs(n=30)
    p = torch.nn.functional.normalize(torch.as_tensor(logits).softmax(1))
    expected = 0.0
    for i in range(30):
        others = torch.stack([p[i] @ p[j] / 0.05 for j in range(30) if j != i]).softmax(0)
        expected += -float((others * others.log()).sum()) / 30
    assert SCORES["snd"](evidence(target=evaluated(features, logits))) == pytest.approx(expected, rel=1e-5)


def test_nuclear_norm_is_1_for_confident_balanced_predictions():
    p = torch.as_tensor(blobs(n=30)[1]).softmax(1)
    expected = float(torch.linalg.matrix_norm(p, "nuc")) / np.sqrt(30 * 3)
    assert SCORES["bnm"](evidence(target=evaluated(*blobs(n=30)[:2]))) == pytest.approx(expected, rel=1e-5)
    certain = evaluated(blobs()[0], 100 * np.eye(3)[np.arange(210) % 3])
    assert SCORES["bnm"](evidence(target=certain)) == pytest.approx(1)


def test_mixval_is_the_accuracy_on_mixes_against_the_dominant_prediction():
    rng = np.random.default_rng(2)
    dominant, predicted = rng.integers(0, 3, (2, 50))
    expected = accuracy_score(dominant, predicted)
    assert SCORES["mixval"](evidence(mixes=Mixes(dominant, predicted))) == pytest.approx(expected)
    assert SCORES["mixval"](evidence(mixes=Mixes(dominant[:9], predicted[:9]))) is None


def test_hopkins_statistic_of_even_points_and_of_clusters():
    even = np.random.default_rng(3).uniform(size=(500, 2))
    assert hopkins(even) == pytest.approx(0.5, abs=0.08)
    assert hopkins(blobs()[0][:, :3]) > 0.8


def test_weights_at_equal_angles_are_even():
    simplex = np.eye(4) - 1 / 4
    assert unevenness(simplex) == pytest.approx(0, abs=1e-9)
    assert unevenness(np.eye(4)) == pytest.approx((np.pi / 2 - np.arccos(-1 / 3)) ** 2)
    assert unevenness(np.ones((1, 4))) is None


def test_density_ratio_weights_the_source_like_the_target():
    rng = np.random.default_rng(4)
    source, target = rng.normal(0, 1, (4000, 1)), rng.normal(0.5, 1, (4000, 1))
    weights = density_ratio(source, target)
    assert weights.mean() == pytest.approx(1, abs=0.05)
    assert np.average(source[:, 0], weights=weights) == pytest.approx(0.5, abs=0.08)
    expected = np.exp(0.5 * source[:, 0] - 0.125)  # of the two normal distributions
    assert np.corrcoef(weights, expected)[0, 1] > 0.95


def test_the_control_variate_leaves_a_constant_loss_and_lowers_the_variance():
    rng = np.random.default_rng(5)
    weights = rng.lognormal(-0.125, 0.5, (200, 50))  # mean 1
    assert risk(weights[0], np.full(50, 0.7)) == pytest.approx(0.7)
    assert risk(np.ones(50), weights[0]) == pytest.approx(weights[0].mean())
    losses = 1 + 0.1 * rng.normal(size=weights.shape)
    corrected = [risk(w, each) for w, each in zip(weights, losses)]
    assert np.mean(corrected) == pytest.approx(1, abs=0.02)
    assert np.std(corrected) < np.std((weights * losses).mean(1)) / 3


def test_dev_is_lower_where_the_source_rows_like_the_target_are_wrong():
    features, logits, labels = blobs(spread=2.0, n=1000)
    shifted = evaluated(features + 1.5 * np.eye(5)[0], logits)
    near = features[:, 0] > np.median(features[:, 0])
    values = []
    for wrong in (near, ~near):
        made = np.where(wrong[:, None], np.roll(logits, 1, axis=1), logits)
        values.append(SCORES["dev"](evidence(source=evaluated(features, made, labels), target=shifted)))
    assert values[0] < values[1] < 0
