"""The gradient reversal layer of Ganin et al. 2016, sec. 4.2, eq. 15-16."""

import torch
from torch import Tensor


class _GradientReversal(torch.autograd.Function):
    @staticmethod
    def forward(features: Tensor, lambda_: Tensor) -> Tensor:
        return features.view_as(features)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (lambda_,) = ctx.saved_tensors
        return gradient * -lambda_.to(gradient.dtype), None


def reverse_gradient(features: Tensor, lambda_: Tensor | float) -> Tensor:
    """Return the features unchanged; in the backward pass, multiply their gradient by ``-lambda_``.

    `lambda_` is a scalar (float or 0-dim tensor, >= 0) that the caller computes from the global step: a counter in
    the layer would advance twice when the head is called twice, and restart on resume. Any floating dtype and shape.
    """
    if not isinstance(lambda_, Tensor):
        lambda_ = torch.tensor(lambda_, device=features.device)
    return _GradientReversal.apply(features, lambda_)
