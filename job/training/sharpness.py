"""Sharpness-aware minimisation of the class loss: Foret et al. 2021, restricted as in SDAT (Rangwani et al. 2022).

SDAT, "A Closer Look at Smoothness in Domain Adversarial Training", sec. 4: a flat minimum of the class loss helps
adversarial training, a flat one of the domain loss harms it.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import torch
from accelerate import Accelerator
from torch import Tensor

from job.methods.base import Method
from job.system.errors import JobError

CLASS_LOSS = "train/class_loss"


class Ascent:
    """Moves the weights by `rho` in the direction in which the class loss rises most, and back.

    Raises JobError for a method without one update per step or without a class loss.
    """

    def __init__(self, method: Method, accelerator: Accelerator, rho: float) -> None:
        if len(method.phases) > 1 or method.labelled is None:
            why = "makes several kinds of updates in a step" if method.labelled else "has no class loss"
            raise JobError(
                f"optimizer.sam_rho={rho} cannot be used with objective.name={method.settings.name}, which {why}: "
                "set it to null, or choose another method"
            )
        self._method, self._accelerator, self._rho = method, accelerator, rho
        self._parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]

    @contextlib.contextmanager
    def moved(self, class_losses: Iterable[Tensor], seed: Callable[[], None]) -> Iterator[None]:
        """Move the weights by ``rho g / |g|`` within the block (Foret et al. 2021, eq. 2), and restore them after it.

        g is the gradient of the sum of `class_losses`, 0-dim each, averaged over the ranks; weights on which they do
        not depend, such as a domain classifier's, stay. Buffers return to what they were at the start of the block, so
        that statistics of BatchNorm are updated once, at the weights themselves. `seed` is called before the losses are
        computed and before the block: both draw the same dropout masks. Does not wait for the device.
        """
        seed()
        parameters, gradients = self._gradients(class_losses)
        with torch.no_grad():
            weights = [parameter.detach().clone() for parameter in parameters]
            buffers = {name: buffer.clone() for name, buffer in self._method.named_buffers()}
            torch._foreach_add_(parameters, gradients)
        seed()
        yield
        with torch.no_grad():
            torch._foreach_copy_(parameters, weights)
            for name, buffer in self._method.named_buffers():
                buffer.copy_(buffers[name])

    def _gradients(self, class_losses: Iterable[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the parameters with a gradient, and the step of length rho along it for each."""
        sums: list[Tensor | None] = [None] * len(self._parameters)
        for loss in class_losses:  # one by one: each frees its activations
            # no gradient reaches .grad, so DDP sees nothing of this pass
            found = torch.autograd.grad(loss, self._parameters, allow_unused=True)
            sums = [new if old is None else old if new is None else old + new for old, new in zip(sums, found)]
        pairs = [(p, g) for p, g in zip(self._parameters, sums, strict=True) if g is not None]
        flat = torch.cat([gradient.flatten() for _, gradient in pairs])
        flat = self._accelerator.reduce(flat, "mean")
        flat = flat * (self._rho / (flat.norm() + 1e-12))
        steps = flat.split([gradient.numel() for _, gradient in pairs])
        return [p for p, _ in pairs], [s.view_as(p) for s, (p, _) in zip(steps, pairs, strict=True)]
