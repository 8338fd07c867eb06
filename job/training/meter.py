"""Sum training metrics on the device and read them only at log steps."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor

from job.methods.adversary import Adversary
from job.methods.base import Losses, Method
from job.training.own_work import slowest

_NEVER = 2**62
_TOGETHER = 16  # batches that are measured together, because small operations mostly cost the time of their launch


@dataclass
class _Phase:
    """The losses of one phase of the updates that are not measured yet, and the sums of the measured metrics."""

    steps: list[int] = field(default_factory=list)
    losses: list[Losses] = field(default_factory=list)  # detached
    sums: dict[str, Tensor] = field(default_factory=dict)  # 0-dim, by metric name
    count: int = 0


class Meter:
    """Computes means since the last reading, over all ranks, and the first step at which the loss was not finite."""

    def __init__(self, accelerator: Accelerator, method: Method) -> None:
        self._accelerator = accelerator
        self._method = method
        self._adversaries = [module for module in method.modules() if isinstance(module, Adversary)]
        self._phases: defaultdict[str, _Phase] = defaultdict(_Phase)
        self._finite: list[tuple[list[int], Tensor]] = []  # steps, and whether the loss of each was finite

    def update(self, step: int, phase: str, losses: Losses) -> None:
        """Add the losses of a batch, or of its share in an accumulated step. Does not wait for the device."""
        held = self._phases[phase]
        held.steps.append(step)
        held.losses.append(
            Losses(
                losses.total.detach(),
                {name: value.detach() for name, value in losses.terms.items()},
                {name: value.detach() for name, value in losses.seen.items()},
            )
        )
        if len(held.steps) == _TOGETHER:
            self._measure(held)

    @torch.no_grad()
    def _measure(self, held: _Phase) -> None:
        """Measure the kept losses of a phase and add them to its sums."""
        if not held.steps:
            return
        totals = torch.stack([one.total.float() for one in held.losses])
        self._finite.append((held.steps, torch.isfinite(totals)))
        first = held.losses[0]
        values = {name: torch.stack([one.terms[name].float() for one in held.losses]) for name in first.terms}
        seen = {name: torch.stack([one.seen[name] for one in held.losses]) for name in first.seen}
        values |= self._method.measure(seen)
        for name, per_batch in values.items():
            held.sums[name] = held.sums.get(name, 0.0) + per_batch.sum()
        held.count += len(held.steps)
        held.steps, held.losses = [], []

    def watch_gradients(self) -> None:
        """Measure, in the next backward passes, the gradient that the encoder receives from each adversary."""
        for adversary in self._adversaries:
            adversary.watch_gradient()

    def read(self, loss_scale: float | None = None, skipped: int = 0, work: float = 0.0) -> dict[str, float]:
        """Return the means since the last reading, over all ranks, the norm of the reversed gradient if it was
        measured, the sum of all ranks' `skipped`, and the slowest rank by the seconds of its own `work`; reset the
        means.

        `loss_scale` is the factor on the loss in half precision, where an overflow of the gradient is normal (the step
        is skipped and the scale lowered): its norm is then omitted. All ranks take part.
        """
        device = self._accelerator.device
        world = self._accelerator.num_processes
        means: dict[str, Tensor] = {}
        for held in self._phases.values():
            self._measure(held)
            means |= {name: total / held.count for name, total in held.sums.items()}
            held.sums, held.count = {}, 0
        squared = [
            part for part in (adversary.squared_gradient() for adversary in self._adversaries) if part is not None
        ]
        gradient = torch.stack(squared).sum() if squared else torch.zeros((), device=device)
        of_ranks = [0.0] * world  # the sum over the ranks has the seconds of each
        of_ranks[self._accelerator.process_index] = work
        others = torch.tensor([float(skipped), *of_ranks], device=device)
        packed = torch.cat(
            [*(mean[None] for mean in means.values()), gradient[None] / (loss_scale or 1.0) ** 2, others]
        )
        reduced = self._accelerator.reduce(packed, "sum").tolist()
        *read, gradient, skipped = reduced[:-world]
        values = {name: mean / world for name, mean in zip(means, read, strict=True)}
        if squared and (loss_scale is None or math.isfinite(gradient)):
            values["domain/reversed_gradient_norm"] = math.sqrt(gradient) / world
        values["data/skipped_samples"] = int(skipped)
        return values | slowest(reduced[-world:])

    def first_bad_step(self, weights: Iterable[Tensor] = ()) -> int | None:
        """Return the earliest step since the last call at which the loss was NaN or infinite, on any rank.

        If one of the `weights` is NaN or infinite, the last step counts too. Waits for the device. All ranks take part.
        """
        for held in self._phases.values():
            self._measure(held)
        bad = [step for steps, finite in self._finite for step, good in zip(steps, finite.tolist()) if not good]
        norms = [value.float().norm() for value in weights if value.is_floating_point()]
        if norms and not torch.stack(norms).isfinite().all().item():
            bad.append(self._finite[-1][0][-1])
        self._finite.clear()
        first = torch.tensor([min(bad, default=_NEVER)], device=self._accelerator.device)
        step = int(self._accelerator.gather(first).min().item())
        return None if step == _NEVER else step
