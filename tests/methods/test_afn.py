"""AFN against a step derived by hand (Xu et al. 2019, the stepwise variant)."""

import pytest
import torch
import torch.nn.functional as F

from job.methods.afn import growth_loss, norms
from tests.support.networks import tiny_batch, tiny_method
from tests.support.steps import assert_same_parameters, descend, one_step


def test_a_step_equals_the_one_derived_by_hand():
    """The gradient of a row's (r + step - |x|)^2 with r = |x| held fixed is -2 step x / |x|."""
    by_hand, method = (tiny_method("afn", weight=3.0, step=0.5, rises=False) for _ in range(2))
    batch, rows = tiny_batch(method), 8
    features = by_hand.network.feature_extractor(batch.images)
    lengths = (features**2).sum(1, keepdim=True).sqrt()
    outwards = (-2 * 0.5 * features / lengths / (2 * rows)).detach()
    on_classes = F.cross_entropy(by_hand.network.label_predictor(features[:rows]), batch.labels)
    descend(on_classes + 3.0 * (outwards * features).sum(), by_hand.parameters())
    metrics = one_step(method, batch).metrics(5, 0)
    assert metrics["domain/source_feature_norm"] == pytest.approx(lengths[:rows].mean().item())
    assert metrics["domain/target_feature_norm"] == pytest.approx(lengths[rows:].mean().item())
    assert_same_parameters(method, by_hand)


def test_features_grow_and_grow_further_with_the_term():
    def norm_after(weight):
        method = tiny_method("afn", weight=weight, rises=False)
        batch = tiny_batch(method)
        for step in range(10):
            one_step(method, batch, step=step)
        return norms(method.network(batch.images).features).mean()

    assert norm_after(1.0) > norm_after(0.0) + 0.2


def test_by_default_the_relative_growth_does_not_depend_on_the_scale_of_the_features():
    features = torch.randn(6, 4)

    def pull(scale, step):
        scaled = (scale * features).requires_grad_()
        growth_loss(norms(scaled), step).backward()
        return (scaled.grad * scaled).sum(1).detach()  # d loss / d log norm of each row

    torch.testing.assert_close(pull(1, None), torch.full((6,), -2 / 6))
    torch.testing.assert_close(pull(1000, None), pull(1, None))
    torch.testing.assert_close(pull(1000, 1.0), 1000 * pull(1, 1.0))  # the paper's: ever stronger
    assert tiny_method("afn").settings.step is None


@pytest.mark.parametrize("step", [1.0, None])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e15])
def test_gradients_are_finite_at_equal_rows_and_at_zero(scale, step):
    features = torch.full((6, 4), scale).requires_grad_()
    growth_loss(norms(features), step).backward()
    assert features.grad.isfinite().all()


def test_half_precision_features_are_measured_in_full_precision():
    features = torch.full((4, 64), 1e4).half()  # the square of a length is beyond float16
    measured = norms(features)
    assert measured.dtype == torch.float32
    assert measured[0].item() == pytest.approx(8e4, rel=1e-3)
