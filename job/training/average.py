"""Average the weights of a method exponentially over the steps: the average is evaluated and saved."""

import copy

import torch

from job.methods.base import Method


def decay_at(step: int, decay: float) -> float:
    """Compute the decay of the average after update `step`: ``min(decay, (1 + step) / (10 + step))``.

    It rises from 0.1, so that the average soon forgets the initial weights. A pure function of the step needs no
    counter in a checkpoint.
    """
    return min(decay, (1 + step) / (10 + step))


class Average:
    """The exponential moving average of a method (Polyak & Juditsky 1992; as teacher: Tarvainen & Valpola 2017, eq. 1).

    `method` is a copy of the averaged method, on its device, that never trains. All floating-point parameters and
    buffers are averaged, so that the statistics of BatchNorm fit the averaged weights; counters are copied.
    """

    def __init__(self, method: Method, decay: float) -> None:
        self.method = copy.deepcopy(method).requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, method: Method, step: int) -> None:
        """Move the average towards the weights of `method` after update `step`. Does not wait for the device."""
        newest, own = method.state_dict(), self.method.state_dict()
        averaged = [name for name, value in own.items() if value.is_floating_point()]
        weight = 1 - decay_at(step, self._decay)
        torch._foreach_lerp_([own[name] for name in averaged], [newest[name] for name in averaged], weight)
        for name in own.keys() - set(averaged):
            own[name].copy_(newest[name])
