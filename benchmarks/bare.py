"""A bare PyTorch loop in a process of its own, as a short script would have it: nothing but the steps.

`python -m benchmarks.bare BACKBONE BATCH SHARDS SIZE` reads numbers of steps from its standard input, one a line, and
answers each with the seconds they took. Its batch lies in memory, decoded and normalised.
"""

import sys
import time
from collections.abc import Callable

import torch

from benchmarks.common import domain_streams
from job.config.load import build_config
from job.config.schema import Config
from job.methods import dann
from job.models.build import build_model, memory_format
from job.shards.reading.augment import normalise
from job.shards.reading.batch_loader import BatchLoader
from job.training.optimizer import build_optimizer


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def one_batch(config: Config, size: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.nn.Module]:
    """Images and labels of a batch on the device, and the network, in the memory format that is faster for it."""
    data = config.data
    format_ = memory_format(config.model, device)
    streams = domain_streams(data.shards, data.streams, data.global_batch_size)
    with BatchLoader(streams, seed=0, stop_step=1, device=device) as loader:
        batch = next(loader)
        images = normalise(batch.images, data.mean, data.std, format_ == torch.channels_last)
        labels = batch.labels.clone()
    return images, labels, build_model(config.model, size, 7, 0).to(device, memory_format=format_)


def bare_loop(config: Config, images, labels, model, optimizer) -> Callable[[int], float]:
    """A function that makes so many steps and returns the seconds they took."""
    lambda_ = torch.tensor(0.5, device=images.device)

    def steps(number: int) -> float:
        synchronise()
        began = time.perf_counter()
        for _ in range(number):
            optimizer.zero_grad(set_to_none=True)
            dann.loss(model(images, lambda_), labels, lambda_, config.objective, None).total.backward()
            optimizer.step()
        synchronise()
        return time.perf_counter() - began

    return steps


def main() -> None:
    backbone, batch, shards, size = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    content = {
        "name": "bare",
        "data": {"shards": shards, "global_batch_size": batch},
        "model": {"backbone": backbone},
    }
    config = build_config(content, "benchmark")
    images, labels, model = one_batch(config, size, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    steps = bare_loop(config, images, labels, model, build_optimizer(model, config.optimizer))
    for line in sys.stdin:
        print(steps(int(line)), flush=True)


if __name__ == "__main__":
    main()
