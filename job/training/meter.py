"""Training metrics, summed on the device and read only at log steps."""

import math

import torch
from accelerate import Accelerator
from torch import Tensor

from job.models.dann import DANN, Output
from job.objectives.terms import Loss

NAMES = ("train/class_loss", "train/source_accuracy", "train/domain_loss", "domain/accuracy", "domain/confusion")


class Meter:
    """Means since the last reading, over all ranks, and the first step at which the loss was not finite."""

    def __init__(self, accelerator: Accelerator, objective) -> None:
        self._accelerator = accelerator
        self._adversarial = len(objective.DOMAINS) == 2
        names = NAMES if self._adversarial else NAMES[:2]
        # train/source_accuracy is the accuracy on the rows whose labels are trained on, whichever domain that is
        self._names = [name.replace("source", objective.LABELLED) for name in names]
        self._sums = torch.zeros(len(names), device=accelerator.device)
        self._count = 0
        self._bad_step = torch.full((), math.inf, device=accelerator.device)
        self._squared_gradient = torch.zeros((), device=accelerator.device)

    @torch.no_grad()
    def update(self, step: int, loss: Loss, output: Output, labels: Tensor, rows: int) -> None:
        """Add a batch (or the share of one that an accumulated step takes) of `rows` images per domain.

        Does not wait for the device.
        """
        correct = (output.class_logits[:rows].argmax(1) == labels[:rows]).float().mean()
        values = [loss.class_loss, correct]
        if self._adversarial:
            logits = output.domain_logits[: 2 * rows].float()
            says_target = logits > 0
            right = torch.cat([~says_target[:rows], says_target[rows:]]).float().mean()
            p = logits.sigmoid()
            entropy = torch.nn.functional.softplus(logits) - p * logits
            values += [loss.domain_loss, right, entropy.mean() / math.log(2)]
        self._sums += torch.stack([value.detach().float() for value in values])
        self._count += 1
        here = torch.where(torch.isfinite(loss.total.detach()), math.inf, float(step))
        self._bad_step = torch.minimum(self._bad_step, here)

    def watch_reversed_gradient(self, model: DANN) -> None:
        """Let the next backward passes measure what the encoder is really handed back by the domain classifier."""
        self._squared_gradient.zero_()

        def add(gradient: Tensor) -> None:
            self._squared_gradient += gradient.detach().float().square().sum()

        model.reversed_gradient_hook = add

    def read(self, model: DANN, loss_scale: float = 1.0, skipped: int = 0) -> dict[str, float]:
        """The means, the norm of the reversed gradient where it was watched, and all ranks' `skipped`; starts anew.

        All ranks take part.
        """
        model.reversed_gradient_hook = None
        world = self._accelerator.num_processes
        others = torch.tensor([float(skipped)], device=self._sums.device)
        packed = torch.cat([self._sums / max(self._count, 1), self._squared_gradient[None] / loss_scale**2, others])
        *means, squared, skipped = self._accelerator.reduce(packed, "sum").tolist()
        values = {name: mean / world for name, mean in zip(self._names, means, strict=True)}
        if self._adversarial:
            values["domain/reversed_gradient_norm"] = math.sqrt(squared) / world
        values["data/skipped_samples"] = int(skipped)
        self._sums.zero_()
        self._count = 0
        return values

    def first_bad_step(self) -> int | None:
        """The earliest step, on any rank, at which the loss was NaN or infinite. Waits for the device."""
        step = -self._accelerator.gather(-self._bad_step[None]).max().item()
        return None if math.isinf(step) else int(step)
