"""Updates with one batch in memory, and the same updates fed by the loader, which decodes every image of a batch."""

import time
from collections.abc import Callable

import torch

from benchmarks.bare import synchronise
from benchmarks.common import domain_streams
from job.config.schema import Config
from job.shards.reading.batch_loader import Batch, BatchLoader
from job.training.learner import Learner


def loader_of(learner: Learner, config: Config, device: torch.device, steps: int, threads: int = 1) -> BatchLoader:
    """Return a loader of new streams for a number of steps, without memory for decoded images."""
    data, prepare = config.data, learner.prepare
    streams = domain_streams(data.shards, data.streams or 16, data.global_batch_size)
    settings = {"device": device, "draws": prepare.draws, "on_host": prepare.on_host}
    return BatchLoader(streams, seed=0, stop_step=steps, threads=threads, **settings)


def first_batch(learner: Learner, config: Config, device: torch.device) -> Batch:
    """Return the batch of step 0, on the device."""
    with loader_of(learner, config, device, 1) as loader:
        return next(loader)


def updates(learner: Learner, batch: Batch) -> Callable[[int], float]:
    """Return a function that runs a number of updates with one batch and returns their seconds."""

    def steps(number: int) -> float:
        synchronise()
        began = time.perf_counter()
        for _ in range(number):
            learner.update(batch)
        synchronise()
        return time.perf_counter() - began

    return steps


def feed(learner: Learner, loader: BatchLoader, first: int) -> dict[str, float]:
    """Run updates with the loader and return milliseconds of a step, and the share in which it waits for data.

    The first steps are not measured: the loader's buffers are full at their start.
    """
    began = waited = 0.0
    for batch in loader:
        learner.update(batch)
        if batch.step == first - 1:
            synchronise()
            began, waited = time.perf_counter(), loader.wait_seconds
    synchronise()
    steps, seconds = batch.step + 1 - first, time.perf_counter() - began
    return {"step_ms": 1000 * seconds / steps, "data_wait": (loader.wait_seconds - waited) / seconds}
