"""CORAL against a step derived by hand (Sun & Saenko 2016, eq. 1-6)."""

import pytest
import torch
import torch.nn.functional as F

from job.methods.coral import coral_loss
from job.system.errors import JobError
from tests.support.networks import tiny_batch, tiny_method
from tests.support.steps import assert_same_parameters, descend, one_step


def covariance(rows):
    """Eq. 2: (D'D - (1'D)'(1'D) / n) / (n - 1)."""
    ones = torch.ones(1, len(rows), dtype=rows.dtype)
    return (rows.T @ rows - (ones @ rows).T @ (ones @ rows) / len(rows)) / (len(rows) - 1)


def test_a_step_equals_the_one_derived_by_hand():
    by_hand, method = (tiny_method("coral", coral_weight=3.0, rises=False) for _ in range(2))
    batch, rows = tiny_batch(method), 8
    features = by_hand.network.feature_extractor(batch.images)
    difference = covariance(features[:rows]) - covariance(features[rows:])
    distance = (difference**2).sum() / (4 * features.shape[1] ** 2)
    loss = F.cross_entropy(by_hand.network.label_predictor(features[:rows]), batch.labels) + 3.0 * distance
    descend(loss, by_hand.parameters())
    metrics = one_step(method, batch).metrics(5, 0)
    assert metrics["train/coral_loss"] == pytest.approx(distance.item())
    assert_same_parameters(method, by_hand)


def test_the_loss_is_zero_for_equal_covariances_whatever_the_means():
    rows = torch.randn(50, 4, dtype=torch.float64)
    assert coral_loss(rows, rows + 5).item() == pytest.approx(0, abs=1e-20)
    assert coral_loss(rows, 2 * rows) > 0.1


def test_half_precision_features_are_compared_in_full_precision():
    rows = (100 * torch.randn(50, 4)).bfloat16()
    assert coral_loss(rows, 2 * rows).dtype == torch.float32


def test_shares_of_a_batch_are_refused(small):
    from job.shards.manifest import load_manifest
    from job.training.inputs import check_data

    config = small(objective={"name": "coral"}, train={"accumulate": 2})
    with pytest.raises(JobError, match="compares all rows of a batch"):
        check_data(config, load_manifest(config.data.shards), 1)
