import pytest
import torch

from job.models.gradient_reversal import reverse_gradient
from tests.support.running import needs_compiler


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("lambda_", [0.0, 0.25, 1.0, 2.5])
def test_identity_forward_and_minus_lambda_backward(dtype, lambda_):
    features = torch.randn(4, 3, dtype=dtype, requires_grad=True)
    upstream = torch.randn(4, 3, dtype=dtype)
    reversed_ = reverse_gradient(features, torch.tensor(lambda_))
    assert torch.equal(reversed_, features)
    reversed_.backward(upstream)
    assert features.grad.dtype == dtype
    torch.testing.assert_close(features.grad, -lambda_ * upstream)


def test_lambda_can_be_a_float():
    features = torch.ones(2, requires_grad=True)
    reverse_gradient(features, 0.5).sum().backward()
    torch.testing.assert_close(features.grad, torch.full((2,), -0.5))


@pytest.mark.slow
@needs_compiler
def test_compiled_equals_eager_at_every_lambda_without_recompiling(plain_compiler):
    weight = torch.randn(5, 5)

    def loss(features, lambda_):
        return (reverse_gradient(features @ weight, lambda_) ** 2).sum()

    torch._dynamo.reset()  # of other tests
    counts = torch._dynamo.utils.counters
    counts.clear()
    compiled = torch.compile(loss, fullgraph=True)
    for lambda_ in (0.0, 0.3, 1.0, 4.0):
        gradients = []
        for function in (loss, compiled):
            features = torch.arange(15.0).reshape(3, 5).requires_grad_()
            function(features, torch.tensor(lambda_)).backward()
            gradients.append(features.grad)
        torch.testing.assert_close(*gradients)
    assert counts["stats"]["unique_graphs"] == 1
