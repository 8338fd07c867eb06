"""Combine method, optimiser, gradient scaler and meter into a learner that updates the weights."""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from job.config.schema import Config
from job.methods.base import Method
from job.methods.batch import TrainingBatch
from job.methods.build import build_method, load_weights
from job.methods.label_shift import EstimatedShares
from job.models.build import memory_format
from job.run_folder.checkpoint import Checkpoint
from job.shards.manifest import Manifest
from job.shards.reading.batch_loader import Batch
from job.shards.reading.prepare import Preparation
from job.system.errors import NotFinite
from job.training.average import Average
from job.training.compilation import compile_method, copied, start_pass, uses_cuda_graphs
from job.training.data_parallel import set_up_data_parallel
from job.training.initial_weights import load_initial_weights
from job.training.inputs import domain_names
from job.training.meter import Meter
from job.training.optimizer import build_optimizer, load_optimizer, set_learning_rate
from job.training.own_work import OwnWork
from job.training.schedules import lr_factor_at, progress
from job.training.sharpness import CLASS_LOSS, Ascent


class Learner:
    """A method under training, on one rank of many, wrapped by Accelerate.

    The next update depends only on the weights, the state of optimiser and scaler, and the step with its batch.

    Attributes:
        method: the module itself, not wrapped.
        evaluated: the module to evaluate, whose weights predict and are saved as such: `method`, or with train.ema the
            average of its weights.
        prepare: converts a batch of bytes to network input.
        work: measures this rank's own part of each step, for `metrics`.
    """

    def __init__(
        self, config: Config, accelerator: Accelerator, method: Method, prepare: Callable[[Batch], Tensor]
    ) -> None:
        self._config = config
        self._accelerator = accelerator
        self.method = method
        self.prepare = prepare
        decay = config.train.ema
        self._average = None if decay is None else Average(method, decay)  # copied before Accelerate wraps the method
        self.evaluated = method if self._average is None else self._average.method.to(accelerator.device)
        method.to(accelerator.device)
        set_up_data_parallel(accelerator, method, config)
        optimizer = build_optimizer(method, config.optimizer, accelerator.device)
        self._model, self._optimizer = accelerator.prepare(method, optimizer)
        self._graphs = uses_cuda_graphs(config, accelerator.device)
        rho = config.optimizer.sam_rho
        self._ascent = None if rho is None else Ascent(method, accelerator, rho)
        self._meter = Meter(accelerator, method)
        self.work = OwnWork(method.network, accelerator.device)
        self._untrained = {phase: _untrained(method, phase) for phase in method.phases}
        self._scale: float | None = None  # of the loss, in half precision, at the last log step
        # torch.manual_seed searches for all kinds of devices at every call, which takes half a millisecond
        is_cuda = accelerator.device.type == "cuda"
        self._seed = torch.cuda.manual_seed if is_cuda else torch.default_generator.manual_seed
        method.train()

    def update(self, batch: Batch, *, logs: bool = False) -> None:
        """Update the weights from one global batch: each phase of the method in turn. Does not wait for the device.

        With `logs`, also measure the gradient that the encoder receives from the domain classifier, for `metrics`.
        """
        step = batch.step
        self._seed_step(step)
        set_learning_rate(self._optimizer, lr_factor_at(step, self._config.train.steps, self._config.optimizer))
        if logs:
            self._meter.watch_gradients()
            # read it before the update, which may change it
            self._scale = self._accelerator.scaler.get_scale() if self._accelerator.scaler is not None else None
        rows = self._rows(batch)
        done = progress(step, self._config.train.steps)
        progress_ = torch.full((), done, dtype=torch.float64, device=rows.images.device)
        for phase in self.method.phases:
            self._update(rows, progress_, phase, step)
        self.method.finish_step(done)
        if self._average is not None:
            self._average.update(self.method, step)

    def _seed_step(self, step: int) -> None:
        """Seed torch's generator for a pass of update `step`, so that it has no state to save."""
        self._seed(_step_seed(self._config.seed, step, self._accelerator.process_index))

    def _update(self, rows: TrainingBatch, progress: Tensor, phase: str, step: int) -> None:
        shares = self._config.train.accumulate
        parts = [rows.share(share, shares) for share in range(shares)]
        self._optimizer.zero_grad(set_to_none=True)
        with self._moved(parts, progress, phase, step):
            for share, part in enumerate(parts):
                waits = share < shares - 1  # ranks exchange gradients with the last share only
                with self._accelerator.no_sync(self._model) if waits else contextlib.nullcontext():
                    if self._graphs:
                        start_pass()
                    losses = self._model(part, progress, phase)
                    self.work.end()
                    self._meter.update(step, phase, copied(losses) if self._graphs else losses)
                    self._accelerator.backward(losses.total / shares)
        for parameter in self._untrained[phase]:
            parameter.grad = None
        if self._config.optimizer.clip_norm is not None:
            self._accelerator.clip_grad_norm_(self._model.parameters(), self._config.optimizer.clip_norm)
        self._optimizer.step()

    def _moved(
        self, parts: list[TrainingBatch], progress: Tensor, phase: str, step: int
    ) -> contextlib.AbstractContextManager[None]:
        """With optimizer.sam_rho, move the weights uphill on the class loss of the parts while the block runs."""
        if self._ascent is None:
            return contextlib.nullcontext()
        # the module itself, not wrapped: each rank computes its own gradient, and they are reduced once
        losses = (self.method(part, progress, phase).terms[CLASS_LOSS] / len(parts) for part in parts)
        return self._ascent.moved(losses, lambda: self._seed_step(step))

    def _rows(self, batch: Batch) -> TrainingBatch:
        """Prepare a batch: one block of rows for each domain that the method reads, then the target's further views."""
        reads = self.method.reads
        labels = torch.empty(0, dtype=torch.int64)
        if self.method.labelled is not None:
            by_domain = dict(zip(reads, batch.labels.chunk(len(reads)), strict=True))
            labels = by_domain[self.method.labelled].clone()  # the loader reuses the memory of the batch
        return TrainingBatch(self.method.blocks, self.prepare(batch), labels)

    def metrics(self, step: int, skipped: int) -> dict[str, float]:
        """Return the means since the last call and the schedules of update `step`. All ranks take part.

        `skipped` is how many images this rank has skipped so far.
        """
        settings = self._config.optimizer
        factor = lr_factor_at(step, self._config.train.steps, settings)
        values = self._meter.read(self._scale, skipped, self.work.read()) | {"schedule/lr": settings.lr * factor}
        return values | self.method.schedules(progress(step, self._config.train.steps))

    def check_finite(self, last_checkpoint: Callable[[], str], weights: bool) -> None:
        """Raise NotFinite, on all ranks, when a loss since the last call was NaN or infinite.

        With `weights`, check the weights too: no loss has been computed from those of the last update yet.
        `last_checkpoint` names the newest checkpoint, for the message. Waits for the device.
        """
        bad_step = self._meter.first_bad_step(self.method.state_dict().values() if weights else ())
        if bad_step is not None:
            raise self.not_finite(bad_step, last_checkpoint())

    def not_finite(self, step: int, last_checkpoint: str) -> NotFinite:
        """Return the error for update `step`, with advice."""
        precision = " or train.precision=bf16 in place of fp16" if self._config.train.precision == "fp16" else ""
        return NotFinite(
            f"the loss, or what is computed from the weights, was NaN or infinite at step {step + 1}; the last good "
            f"checkpoint is {last_checkpoint}; try a lower optimizer.lr ({self._config.optimizer.lr} now), "
            f"optimizer.clip_norm=1, optimizer.warmup_steps=500{precision}"
        )

    def after_evaluation(self, shares: EstimatedShares | None) -> None:
        """Give the method, and its average, the class shares of the target that an evaluation estimated, if any."""
        if shares is not None:
            for method in {self.method, self.evaluated}:
                method.after_evaluation(shares)

    def trainer_state(self) -> dict[str, Any]:
        """Return the state of the optimiser and of the gradient scaler, for a checkpoint.

        With an average, whose weights the checkpoint holds as the network's, also the weights that are trained.
        """
        scaler = self._accelerator.scaler.state_dict() if self._accelerator.scaler is not None else {}
        state = {"optimizer": self._optimizer.state_dict(), "scaler": scaler}
        return state if self._average is None else state | {"weights": dict(self.method.state_dict())}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Load what `trainer_state` returned. The learner was built with the checkpoint's weights."""
        state = checkpoint.trainer()
        if self._average is not None:
            load_weights(self.method, state["weights"], str(checkpoint.path))
        load_optimizer(self._optimizer, state["optimizer"])
        if self._accelerator.scaler is not None and state["scaler"]:
            self._accelerator.scaler.load_state_dict(state["scaler"])


def build_learner(
    config: Config, manifest: Manifest, accelerator: Accelerator, resumed: Checkpoint | None = None
) -> Learner:
    """Build the learner that a configuration describes, or resume it from a checkpoint.

    Raises JobError for a network or weights that do not fit.
    """
    data, device = config.data, accelerator.device
    method = build_method(config, manifest.size, len(manifest.class_names), load_weights=resumed is None)
    method.class_weights = _class_weights(config, manifest, method)
    if method.shift is not None:
        method.shift.begin(manifest.class_counts(data.source, "train") or ())
    if config.model.batch_norm == "sync":
        method = nn.SyncBatchNorm.convert_sync_batchnorm(method)
    if resumed:
        load_weights(method, resumed.weights(), str(resumed.path))
    else:
        load_initial_weights(method, config, manifest.class_names)
        method.begin()
    layout = memory_format(config.model, device)
    method = method.to(memory_format=layout)
    compile_method(method, config)
    last = layout == torch.channels_last
    prepare = Preparation(
        data.augment,
        data.mean,
        data.std,
        last,
        device,
        method.views,
        len(method.reads),
        method.strong_view,
        data.standardize,
    )
    learner = Learner(config, accelerator, method, prepare)
    if resumed:
        learner.restore(resumed)
    return learner


def _untrained(method: Method, phase: str) -> list[nn.Parameter]:
    trained = {id(parameter) for parameter in method.trained(phase)}
    return [parameter for parameter in method.parameters() if id(parameter) not in trained]


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _class_weights(config: Config, manifest: Manifest, method: Method) -> Tensor | None:
    """Return the weights [classes] of the class loss; None when all classes have equal weight."""
    weights = config.objective.class_weights
    if weights == "none" or method.labelled is None:
        return None
    if weights == "balanced":
        counts = manifest.class_counts(domain_names(config)[method.labelled], "train") or ()
        weights = tuple(sum(counts) / len(counts) / count if count else 0.0 for count in counts)
    return torch.tensor(weights, dtype=torch.float32)


def all_finite(metrics: dict[str, float]) -> bool:
    return all(map(math.isfinite, metrics.values()))
