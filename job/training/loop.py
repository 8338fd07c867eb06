"""The training loop."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from job.config.schema import Config
from job.models.dann import DANN
from job.shards.reading.batch_loader import Batch
from job.system.errors import NotFinite
from job.training.meter import Meter
from job.training.optimizer import set_learning_rate
from job.training.schedules import lambda_at, lr_factor_at


class Batches(Protocol):
    """What the loop asks of a loader (`job.shards.reading.stream.BatchLoader`)."""

    wait_seconds: float
    skipped: int

    def __iter__(self) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class Callbacks:
    """What the loop leaves to others. All ranks call each of them at the same steps."""

    log: Callable[[int, dict[str, float]], None]  # step, metrics
    evaluate: Callable[[int], tuple[dict[str, float], float]]  # step -> metrics, selection score
    improves: Callable[[float | None], bool]  # selection score, None without an evaluation -> the best so far?
    save: Callable[[int, dict[str, float], float | None], float]  # step, metrics, selection score -> seconds
    last_checkpoint: Callable[[], str]  # name of the last good one, for messages
    stop_agreed: Callable[[], bool]
    epochs: Callable[[int], dict[str, float]]  # step -> passes over each domain so far


def fit(
    config: Config,
    accelerator: Accelerator,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    prepare: Callable[[Batch], Tensor],
    objective,
    class_weights: Tensor | None,
    callbacks: Callbacks,
) -> bool:
    """Train from the loader's first step to its last. True: done; False: stopped early, after a checkpoint.

    A step is one update of the weights: ``train.accumulate`` forward passes, each over as many source as target rows.
    `prepare` makes network input, augmented and normalised, of a batch. The device is waited for at log steps only.
    Raises NotFinite, a JobError, with the step.
    """
    network: DANN = accelerator.unwrap_model(model)
    meter = Meter(accelerator, objective)
    clock = _Clock(batches)
    train = config.train
    # torch.manual_seed asks after devices of every kind at every call, which takes half a millisecond
    seed = torch.cuda.manual_seed if accelerator.device.type == "cuda" else torch.default_generator.manual_seed
    model.train()
    for batch in batches:
        step = batch.step
        done = step + 1
        logs = done % train.log_every == 0 or done == train.steps
        lambda_ = lambda_at(step, train.steps, config.objective)
        lr_factor = lr_factor_at(step, train.steps, config.optimizer)
        seed(_step_seed(config.seed, step, accelerator.process_index))  # of dropout: so there is no state to save
        set_learning_rate(optimizer, lr_factor)
        if logs and len(objective.DOMAINS) == 2:
            meter.watch_reversed_gradient(network)
        # before the update, which may change it
        scale = accelerator.scaler.get_scale() if logs and accelerator.scaler is not None else None
        _update(config, accelerator, model, optimizer, batch, prepare, objective, class_weights, lambda_, meter)

        metrics: dict[str, float] = {}
        evaluates = done % train.eval_every == 0 or done == train.steps
        stops = callbacks.stop_agreed()
        saves = done % train.checkpoint_every == 0 or done == train.steps or stops
        if logs or evaluates or saves:
            # weights of a step are in no loss yet
            bad_step = meter.first_bad_step(network.state_dict().values() if evaluates or saves else ())
            if bad_step is not None:
                raise NotFinite(_advice(bad_step, callbacks.last_checkpoint(), config))
        clock.tick()  # now that the device was waited for
        if logs:
            metrics |= meter.read(network, scale, batches.skipped)
            metrics |= clock.read(len(objective.DOMAINS) * config.data.global_batch_size)
            metrics |= callbacks.epochs(done) | {"schedule/lr": config.optimizer.lr * lr_factor}
            if len(objective.DOMAINS) == 2:
                metrics["schedule/lambda"] = lambda_
        score = None
        if evaluates:
            scores, score = callbacks.evaluate(done)
            model.train()
            if not all(map(math.isfinite, scores.values())):
                raise NotFinite(_advice(step, callbacks.last_checkpoint(), config))
            metrics |= scores
        if saves or callbacks.improves(score):
            metrics["speed/checkpoint_seconds"] = callbacks.save(done, metrics, score)
        if metrics:
            callbacks.log(done, metrics)
        if stops and done < train.steps:
            return False
        clock.start()
    return True


def _update(config, accelerator, model, optimizer, batch, prepare, objective, class_weights, lambda_, meter) -> None:
    """One update of the weights from one batch."""
    images = prepare(batch)  # rows: one block for each domain, and one for each further view of the target
    per_domain = len(batch.labels) // len(objective.DOMAINS)
    blocks = len(images) // per_domain
    shares = config.train.accumulate
    lambda_ = torch.full((), lambda_, device=images.device)
    optimizer.zero_grad(set_to_none=True)
    for share in range(shares):
        rows = _rows_of_share(per_domain, blocks, share, shares)
        inputs = images if rows is None else images[rows]
        labels = batch.labels if rows is None else batch.labels[rows[: len(batch.labels) // shares]]
        waits = share < shares - 1  # gradients travel between ranks with the last share only
        with accelerator.no_sync(model) if waits else contextlib.nullcontext():
            output = model(inputs, lambda_)
            loss = objective.loss(output, labels, lambda_, config.objective, class_weights)
            meter.update(batch.step, loss, output, labels, per_domain // shares)
            accelerator.backward(loss.total / shares)
    if config.optimizer.clip_norm is not None:
        accelerator.clip_grad_norm_(model.parameters(), config.optimizer.clip_norm)
    optimizer.step()


def _rows_of_share(rows: int, blocks: int, share: int, shares: int) -> Tensor | None:
    """Rows of a share of a batch of `blocks` times `rows` rows, an equal part of each block; None for all of them."""
    if shares == 1:
        return None
    part = rows // shares
    starts = [block * rows + share * part for block in range(blocks)]
    return torch.cat([torch.arange(start, start + part) for start in starts])


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _advice(step: int, last_checkpoint: str, config: Config) -> str:
    precision = " or train.precision=bf16 in place of fp16" if config.train.precision == "fp16" else ""
    return (
        f"the loss, or what is computed from the weights, was NaN or infinite at step {step + 1}; the last good "
        f"checkpoint is {last_checkpoint}; try a lower "
        f"optimizer.lr ({config.optimizer.lr} now), optimizer.clip_norm=1, optimizer.warmup_steps=500{precision}"
    )


class _Clock:
    """Durations of the steps, without the evaluations and checkpoints between them."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._durations: list[float] = []
        self._waited = batches.wait_seconds
        self.start()

    def start(self) -> None:
        self._from = time.perf_counter()

    def tick(self) -> None:
        self._durations.append(time.perf_counter() - self._from)

    def read(self, images_per_step: int) -> dict[str, float]:
        seconds = sum(self._durations)
        waited, self._waited = self._batches.wait_seconds - self._waited, self._batches.wait_seconds
        p50, p95 = np.percentile(self._durations, (50, 95))
        values = {
            "speed/images_per_second": images_per_step * len(self._durations) / seconds,
            "speed/data_wait_fraction": min(waited / seconds, 1.0),
            "speed/step_p50_ms": 1000 * p50,
            "speed/step_p95_ms": 1000 * p95,
        }
        self._durations.clear()
        return values
