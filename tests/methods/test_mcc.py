"""MCC against a step derived by hand (Jin et al. 2020, eq. 3-8)."""

import pytest
import torch
import torch.nn.functional as F

from job.methods.mcc import class_confusion
from tests.support.networks import tiny_batch, tiny_method
from tests.support.steps import assert_same_parameters, descend, one_step


def confusion_by_hand(logits, temperature):
    """The class correlation matrix itself, row by row and class by class."""
    p = (logits / temperature).softmax(1)
    rows, classes = p.shape
    with torch.no_grad():
        weights = 1 + torch.exp((p * p.log()).sum(1))
        weights = rows * weights / weights.sum()
    correlation = p.T @ torch.diag(weights) @ p
    normalised = correlation / correlation.sum(1, keepdim=True)
    off_diagonal = [normalised[j, k] for j in range(classes) for k in range(classes) if j != k]
    return torch.stack(off_diagonal).sum() / classes


def test_a_step_equals_the_one_derived_by_hand():
    by_hand, method = (tiny_method("mcc", weight=3.0, temperature=1.5, rises=False) for _ in range(2))
    batch, rows = tiny_batch(method), 8
    logits = by_hand.network(batch.images).class_logits
    confusion = confusion_by_hand(logits[rows:], 1.5)
    loss = F.cross_entropy(logits[:rows], batch.labels) + 3.0 * confusion
    descend(loss, by_hand.parameters())
    metrics = one_step(method, batch).metrics(5, 0)
    assert metrics["train/class_confusion"] == pytest.approx(confusion.item())
    assert_same_parameters(method, by_hand)


def test_certain_predictions_of_all_classes_confuse_none_and_uniform_ones_all():
    certain = 100 * torch.eye(4, dtype=torch.float64)
    assert class_confusion(certain, 2.5).item() == pytest.approx(0, abs=1e-12)
    assert class_confusion(torch.zeros(6, 4), 2.5).item() == pytest.approx(3 / 4)


@pytest.mark.parametrize("scale", [0.0, 1e4, 1e30])
def test_gradients_are_finite_at_extreme_logits_and_where_no_row_predicts_a_class(scale):
    logits = (scale * F.one_hot(torch.tensor([0, 0, 2, 2]), 4).float()).requires_grad_()
    loss = class_confusion(logits, 2.5)
    loss.backward()
    assert 0 <= loss.item() <= 1
    assert logits.grad.isfinite().all()


def test_half_precision_logits_are_compared_in_full_precision():
    logits = torch.randn(50, 4).bfloat16()
    loss = class_confusion(logits, 2.5)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(confusion_by_hand(logits.float(), 2.5).item(), rel=1e-5)
