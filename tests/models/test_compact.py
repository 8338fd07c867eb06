"""The compact network accepts every documented size, with and without BatchNorm."""

import pytest
import torch
from torch import nn

from job.models.compact import CompactCNN


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("size", [48, 64, 96])
def test_width_and_scale_of_features(norm, size):
    torch.manual_seed(0)
    network = CompactCNN(width=8, norm=norm)
    features = network(torch.randn(4, 3, size, size))
    assert features.shape == (4, network.out_features)
    assert 0.1 < features.pow(2).mean().sqrt() < 10  # He initialisation holds the scale without normalisation, too
    features.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_without_batch_norm_a_sample_does_not_depend_on_its_batch():
    network = CompactCNN(width=8, norm="none").train()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    images = torch.randn(4, 3, 48, 48)
    torch.testing.assert_close(network(images)[:2], network(images[:2]))


def test_an_unknown_norm_raises_value_error():
    with pytest.raises(ValueError, match=r"layer.*batch, none"):
        CompactCNN(norm="layer")


@pytest.mark.parametrize("size", [48, 52, 64, 96])
def test_deterministic_pooling_gives_the_same_means(size):
    """CUDA has no deterministic gradient of the adaptive pooling."""
    network = CompactCNN(width=8)
    maps = torch.randn(2, 64, size // 8, size // 8, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 64, 3, 3, dtype=torch.float64)
    usual = network.pool(maps)
    (gradient,) = torch.autograd.grad((usual * weights).sum(), maps)
    torch.use_deterministic_algorithms(True)
    try:
        products = network.pool(maps)
    finally:
        torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(products, usual)
    torch.testing.assert_close(torch.autograd.grad((products * weights).sum(), maps)[0], gradient)
