"""DAN against a step derived by hand (Long et al. 2015, eq. 1-2; Gretton et al. 2012, eq. 3)."""

import math

import pytest
import torch
import torch.nn.functional as F

from job.methods.dan import multi_kernel_mmd
from tests.support.networks import tiny_batch, tiny_method
from tests.support.steps import assert_same_parameters, descend, one_step

BANDWIDTHS = (0.25, 1.0, 4.0)


def mmd_by_hand(source, target, bandwidths):
    """Pair by pair."""
    rows = [*source, *target]
    squared = [[((x - y) ** 2).sum() for y in rows] for x in rows]
    scale = sum(distance.item() for line in squared for distance in line) / len(rows) ** 2
    n, m = len(source), len(target)
    factor = [[0.0] * (n + m) for _ in range(n + m)]
    for i in range(n + m):
        for j in range(n + m):
            if i != j and i < n and j < n:
                factor[i][j] = 1 / (n * (n - 1))
            elif i != j and i >= n and j >= n:
                factor[i][j] = 1 / (m * (m - 1))
            elif (i < n) != (j < n):
                factor[i][j] = -1 / (n * m)
    total = 0
    for bandwidth in bandwidths:
        for i in range(n + m):
            for j in range(n + m):
                total = total + factor[i][j] * torch.exp(-squared[i][j] / (2 * bandwidth * scale)) / len(bandwidths)
    return total


@pytest.mark.parametrize("logits", [False, True])
def test_a_step_equals_the_one_derived_by_hand(logits):
    settings = {"weight": 3.0, "rises": False, "bandwidths": BANDWIDTHS, "logits": logits}
    by_hand, method = (tiny_method("dan", **settings) for _ in range(2))
    batch, rows = tiny_batch(method), 8
    features = by_hand.network.feature_extractor(batch.images)
    classes = by_hand.network.label_predictor(features)
    distance = mmd_by_hand(features[:rows], features[rows:], BANDWIDTHS)
    if logits:
        distance = distance + mmd_by_hand(classes[:rows], classes[rows:], BANDWIDTHS)
    loss = F.cross_entropy(classes[:rows], batch.labels) + 3.0 * distance
    descend(loss, by_hand.parameters())
    metrics = one_step(method, batch).metrics(5, 0)
    assert metrics["train/mmd_loss"] == pytest.approx(distance.item())
    assert_same_parameters(method, by_hand)


def test_the_estimate_is_unbiased():
    """Of equal distributions it is 0 on average, within three standard errors; of others it is positive."""
    generator = torch.Generator().manual_seed(1)

    def estimates(shift):
        draws = torch.randn(400, 2, 6, 3, dtype=torch.float64, generator=generator)
        return torch.stack([multi_kernel_mmd(x, y + shift, BANDWIDTHS) for x, y in draws])

    equal = estimates(0.0)
    assert equal.mean().abs() < 3 * equal.std() / math.sqrt(len(equal))
    assert equal.min() < 0
    assert estimates(1.0).mean() > 0.1


def test_the_scale_and_place_of_the_rows_do_not_matter():
    torch.manual_seed(0)
    x, y = torch.randn(2, 10, 4, dtype=torch.float64)
    torch.testing.assert_close(multi_kernel_mmd(7 * x + 3, 7 * y + 3, BANDWIDTHS), multi_kernel_mmd(x, y, BANDWIDTHS))


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e15])
def test_gradients_are_finite_at_equal_rows(scale):
    rows = torch.full((6, 4), scale).requires_grad_()
    loss = multi_kernel_mmd(rows[:3], rows[3:], BANDWIDTHS)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert rows.grad.abs().max() < 1e-3


def test_equal_rows_keep_the_gradient_finite():
    rows = torch.randn(6, 4)
    rows[3] = rows[0]
    rows.requires_grad_()
    multi_kernel_mmd(rows[:3], rows[3:], BANDWIDTHS).backward()
    assert rows.grad.isfinite().all()


def test_half_precision_features_are_compared_in_full_precision():
    torch.manual_seed(0)
    rows = (100 * torch.randn(50, 4)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = multi_kernel_mmd(rows[:25], rows[25:] + 50, BANDWIDTHS)
    assert loss.dtype == torch.float32
    expected = multi_kernel_mmd(rows[:25].double(), (rows[25:] + 50).double(), BANDWIDTHS)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
