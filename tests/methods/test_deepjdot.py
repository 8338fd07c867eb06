"""DeepJDOT against a step derived by hand: the best of all assignments, tried one by one (Damodaran et al. 2018)."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from job.methods.deepjdot import transport_cost, transport_plan
from tests.support.networks import tiny_batch, tiny_method
from tests.support.steps import assert_same_parameters, descend, one_step


def test_a_step_equals_the_one_derived_by_hand():
    settings = {"weight": 3.0, "rises": False, "distance_weight": 0.2, "label_weight": 0.7}
    by_hand, method = (tiny_method("deepjdot", **settings) for _ in range(2))
    rows = 6
    batch = tiny_batch(method, rows)
    features = by_hand.network.feature_extractor(batch.images)
    logits = by_hand.network.label_predictor(features)
    cost = torch.stack([
        torch.stack([
            0.2 * ((features[i] - features[rows + j]) ** 2).sum()
            + 0.7 * F.cross_entropy(logits[rows + j], batch.labels[i])
            for j in range(rows)
        ])
        for i in range(rows)
    ])  # fmt: skip
    # with equal weights and equally many rows some assignment is a plan of the least cost (Birkhoff)
    best = min(itertools.permutations(range(rows)), key=lambda to: sum(cost[i, to[i]].item() for i in range(rows)))
    transport = sum(cost[i, best[i]] for i in range(rows)) / rows
    loss = F.cross_entropy(logits[:rows], batch.labels) + 3.0 * transport
    descend(loss, by_hand.parameters())
    metrics = one_step(method, batch).metrics(5, 0)
    assert metrics["train/transport_cost"] == pytest.approx(transport.item())
    assert_same_parameters(method, by_hand)


def test_the_plan_moves_equal_shares_and_is_the_same_every_time():
    torch.manual_seed(0)
    cost = torch.rand(40, 40)
    plan = transport_plan(cost)
    torch.testing.assert_close(plan.sum(0), torch.full((40,), 1 / 40))
    torch.testing.assert_close(plan.sum(1), torch.full((40,), 1 / 40))
    assert torch.equal(plan, transport_plan(cost.clone()))


def test_the_cost_of_a_label_that_the_target_predicts_is_small():
    """Rows of equal features are moved by label."""
    features, labels = torch.zeros(4, 3), torch.tensor([0, 1, 2, 2])
    logits = 20 * F.one_hot(labels.flip(0), 3).float()
    assert transport_cost(features, features, labels, logits, 1.0, 1.0).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e30])
def test_gradients_are_finite_at_equal_rows_and_extreme_logits(scale):
    features, logits = torch.ones(4, 3).requires_grad_(), (scale * torch.eye(4)).requires_grad_()
    loss = transport_cost(features, features, torch.tensor([3, 3, 3, 3]), logits, 1.0, 1.0)
    loss.backward()
    assert loss.isfinite()
    assert features.grad.isfinite().all()
    assert logits.grad.isfinite().all()


def test_a_cost_that_is_not_finite_gives_a_loss_that_is_not_finite():
    """The solver must not block forever; training reports the loss."""
    features = torch.tensor([[float("nan")], [1.0]])
    assert transport_cost(features, features, torch.tensor([0, 1]), torch.zeros(2, 2), 1.0, 1.0).isnan()


def test_half_precision_features_are_compared_in_full_precision():
    torch.manual_seed(0)
    rows, logits = (10 * torch.randn(2, 20, 4)).bfloat16(), torch.randn(20, 3).bfloat16()
    labels = torch.randint(3, (20,))
    with torch.autocast("cpu", torch.bfloat16):
        loss = transport_cost(*rows, labels, logits, 0.1, 1.0)
    assert loss.dtype == torch.float32
    expected = transport_cost(*rows.double(), labels, logits.double(), 0.1, 1.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
