"""Training metrics, summed on the device and read only at log steps."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from job.methods.terms import Loss
from job.models.dann import DANN, Output

NAMES = ("train/class_loss", "train/source_accuracy", "train/domain_loss", "domain/accuracy", "domain/confusion")


_NEVER = 2**62
_TOGETHER = 16  # batches whose outputs are kept until they are measured, in one go: small operations cost their start


@dataclass(frozen=True)
class _Seen:
    """What is kept of a batch of `rows` images per domain, detached."""

    step: int
    losses: tuple[Tensor, ...]  # 0-dim: total, classes, domains where there are two
    class_logits: Tensor  # [rows, classes], of the labelled domain
    labels: Tensor  # [rows]
    domain_logits: Tensor  # [2 rows]


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
        self._seen: list[_Seen] = []
        self._finite: list[tuple[list[int], Tensor]] = []  # steps, and for each whether its loss was finite
        self._squared_gradient = torch.zeros((), device=accelerator.device)

    def update(self, step: int, loss: Loss, output: Output, labels: Tensor, rows: int) -> None:
        """Add a batch (or the share of one that an accumulated step takes) of `rows` images per domain.

        Does not wait for the device.
        """
        losses = (loss.total, loss.class_loss, loss.domain_loss) if self._adversarial else (loss.total, loss.class_loss)
        self._seen.append(
            _Seen(
                step,
                tuple(value.detach() for value in losses),
                output.class_logits[:rows].detach(),
                labels[:rows].clone(),  # the loader will use the batch's memory again
                output.domain_logits[: 2 * rows].detach(),
            )
        )
        if len(self._seen) == _TOGETHER:
            self._measure()

    @torch.no_grad()
    def _measure(self) -> None:
        """Add what was seen to the sums."""
        if not self._seen:
            return
        seen, self._seen = self._seen, []
        losses = torch.stack([torch.stack(one.losses).float() for one in seen], 1)  # [2 or 3, batches]
        self._finite.append(([one.step for one in seen], torch.isfinite(losses[0])))
        labels = torch.stack([one.labels for one in seen])
        right = torch.stack([one.class_logits for one in seen]).argmax(2) == labels
        values = [losses[1], right.float().mean(1)]
        if self._adversarial:
            logits = torch.stack([one.domain_logits for one in seen]).float()  # [batches, 2 rows]
            says_target, rows = logits > 0, labels.shape[1]
            right = torch.cat([~says_target[:, :rows], says_target[:, rows:]], 1)
            p = logits.sigmoid()
            entropy = torch.nn.functional.softplus(logits) - p * logits
            values += [losses[2], right.float().mean(1), entropy.mean(1) / math.log(2)]
        self._sums += torch.stack(values).sum(1)
        self._count += len(seen)

    def watch_reversed_gradient(self, model: DANN) -> None:
        """Let the next backward passes measure what the encoder is really handed back by the domain classifier."""
        self._squared_gradient.zero_()

        def add(gradient: Tensor) -> None:
            self._squared_gradient += gradient.detach().float().square().sum()

        model.reversed_gradient_hook = add

    def read(self, model: DANN, loss_scale: float | None = None, skipped: int = 0) -> dict[str, float]:
        """The means, the norm of the reversed gradient where it was watched, and all ranks' `skipped`; starts anew.

        `loss_scale` is what the loss was multiplied by, in half precision: there, a gradient that overflows is an
        everyday affair (the step is left out, the scale lowered), and its norm is left out too. All ranks take part.
        """
        model.reversed_gradient_hook = None
        self._measure()
        world = self._accelerator.num_processes
        others = torch.tensor([float(skipped)], device=self._sums.device)
        packed = torch.cat(
            [self._sums / max(self._count, 1), self._squared_gradient[None] / (loss_scale or 1.0) ** 2, others]
        )
        *means, squared, skipped = self._accelerator.reduce(packed, "sum").tolist()
        values = {name: mean / world for name, mean in zip(self._names, means, strict=True)}
        if self._adversarial and (loss_scale is None or math.isfinite(squared)):
            values["domain/reversed_gradient_norm"] = math.sqrt(squared) / world
        values["data/skipped_samples"] = int(skipped)
        self._sums.zero_()
        self._count = 0
        return values

    def first_bad_step(self, weights: Iterable[Tensor] = ()) -> int | None:
        """The earliest step, on any rank, since this was asked last at which the loss was NaN or infinite.

        Or the last step, where one of the `weights` that it left is. Waits for the device. All ranks take part.
        """
        self._measure()
        bad = [step for steps, finite in self._finite for step, good in zip(steps, finite.tolist()) if not good]
        norms = [value.float().norm() for value in weights if value.is_floating_point()]
        if norms and not torch.stack(norms).isfinite().all().item():
            bad.append(self._finite[-1][0][-1])
        self._finite.clear()
        first = torch.tensor([min(bad, default=_NEVER)], device=self._sums.device)
        step = int(self._accelerator.gather(first).min().item())
        return None if step == _NEVER else step
