"""A bare PyTorch loop in a separate process, like a short script: only the steps.

`python -m benchmarks.bare BACKBONE BATCH SHARDS SIZE` reads numbers of steps from stdin, one per line, and prints the
seconds of each. Its batch is in memory, decoded and normalised.
"""

import sys
import time
from collections.abc import Callable

import torch

from benchmarks.common import domain_streams
from job.config.load import build_config
from job.config.schema import Config
from job.methods.base import Method
from job.methods.batch import TrainingBatch
from job.methods.build import build_method
from job.models.build import memory_format
from job.shards.reading.augment import normalise
from job.shards.reading.batch_loader import BatchLoader
from job.training.optimizer import build_optimizer


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def one_batch(config: Config, size: int, device: torch.device) -> tuple[TrainingBatch, Method]:
    """Make a batch on the device, and the method, in the faster memory format of its network."""
    data = config.data
    format_ = memory_format(config.model, device)
    streams = domain_streams(data.shards, data.streams or 16, data.global_batch_size)
    with BatchLoader(streams, seed=0, stop_step=1, device=device) as loader:
        batch = next(loader)
        images = normalise(batch.images, data.mean, data.std, format_ == torch.channels_last)
        labels = batch.labels[: len(batch.labels) // 2].clone()
    method = build_method(config, size, 7).to(device, memory_format=format_)
    return TrainingBatch(method.reads, images, labels), method


def bare_loop(batch: TrainingBatch, model, optimizer) -> Callable[[int], float]:
    """Return a function that runs a number of steps and returns their seconds."""
    progress = torch.full((), 0.5, dtype=torch.float64, device=batch.images.device)

    def steps(number: int) -> float:
        synchronise()
        began = time.perf_counter()
        for _ in range(number):
            optimizer.zero_grad(set_to_none=True)
            model(batch, progress).total.backward()
            optimizer.step()
        synchronise()
        return time.perf_counter() - began

    return steps


def main() -> None:
    backbone, rows, shards, size = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    content = {
        "name": "bare",
        "data": {"shards": shards, "global_batch_size": rows},
        "model": {"backbone": backbone},
    }
    config = build_config(content, "benchmark")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch, model = one_batch(config, size, device)
    steps = bare_loop(batch, model, build_optimizer(model, config.optimizer, device))
    for line in sys.stdin:
        print(steps(int(line)), flush=True)


if __name__ == "__main__":
    main()
