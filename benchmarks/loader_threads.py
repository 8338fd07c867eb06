"""The loader with several threads: alone, and with the training running beside it.

Alone: images per second of wall time against the bare decoder in as many threads, in turns, on all cores.
Beside the training: the same updates fed by the loader, which decodes every image of every batch
(data.decoded_gib=0), and with one batch in memory, in turns; `step` is how many times as long a fed step takes,
`data_wait` the share in which it waits for a batch. Without a GPU the threads share the cores with the training, so
`step` cannot be 1.
"""

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.bare_decoder import decode_in_threads, measure
from benchmarks.common import domain_streams, print_table
from benchmarks.feeding import feed, first_batch, loader_of, updates
from job.config.load import build_config
from job.shards.manifest import load_manifest
from job.shards.reading.batch_loader import BatchLoader
from job.training.distributed import build_accelerator
from job.training.learner import build_learner


class Plan(NamedTuple):
    """How much is measured: the network, images per domain, updates of a turn, turns."""

    backbone: str
    images: int
    steps: int
    turns: int


FULL = Plan("compact", 64, 40, 5)
MINIATURE = Plan("compact", 16, 2, 1)
STREAMS = 16
FIRST = 5  # steps of the fed loop that are not measured: the loader's buffers are full then


def alone(folder: Path, jpegs: Sequence[bytes], threads: int, batch: int, streams: int, turns: int) -> dict[str, float]:
    """Return images per second of wall time, and as a share of the bare decoder in as many threads."""
    steps = len(jpegs) // (2 * batch)
    both = domain_streams(folder, streams, batch)
    size = both[0].size

    def ours(first: int) -> int:
        with BatchLoader(both, seed=0, start_step=first, stop_step=first + steps, threads=threads) as loader:
            return sum(len(loaded.images) for loaded in loader)

    ours(0)  # open the shards
    pairs = []
    for turn in range(turns):
        bare = measure(lambda: decode_in_threads(jpegs, size, threads))
        rate = measure(lambda turn=turn: ours((turn + 1) * steps))
        pairs.append((rate[1], rate[1] / bare[1], rate[0] / bare[0]))
    rate, share, of_cpu = (statistics.median(column) for column in zip(*pairs))
    return {"images_per_second": round(rate), "of_decoder": round(share, 3), "of_decoder_cpu": round(of_cpu, 3)}


def run(folder: Path, jpegs: Sequence[bytes], threads: Sequence[int], plan: Plan) -> dict[str, Any]:
    """Measure the loader with each number of threads."""
    content = {
        "name": "loader",
        "data": {"shards": str(folder), "global_batch_size": plan.images, "streams": STREAMS},
        "model": {"backbone": plan.backbone},
        "train": {"steps": 10**6},
        "wandb": {"mode": "disabled"},
    }
    config = build_config(content, "benchmark")
    accelerator = build_accelerator(config)
    device = accelerator.device
    learner = build_learner(config, load_manifest(folder), accelerator)
    in_memory = updates(learner, first_batch(learner, config, device))
    in_memory(2)
    beside: dict[int, list[tuple[float, float, float]]] = {count: [] for count in threads}
    for _ in range(plan.turns):
        for count in threads:
            step_ms = 1000 * in_memory(plan.steps) / plan.steps
            with loader_of(learner, config, device, FIRST + plan.steps, count) as loader:
                fed = feed(learner, loader, FIRST)
            beside[count].append((fed["step_ms"], fed["step_ms"] / step_ms, fed["data_wait"]))
    rows = []
    for count in threads:
        step_ms, times, wait = (statistics.median(column) for column in zip(*beside[count]))
        rows.append(
            {"threads": count}
            | alone(folder, jpegs, count, plan.images, STREAMS, plan.turns)
            | {"step_ms": round(step_ms, 2), "step": round(times, 3), "data_wait": round(wait, 4)}
        )
    return {
        "backbone": plan.backbone,
        "images_per_domain": plan.images,
        "device": device.type,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "training_threads": torch.get_num_threads(),
        "rows": rows,
    }


def show(result: dict[str, Any]) -> None:
    network = (
        f"{result['backbone']}, {result['images_per_domain']} images per domain, {result['training_threads']} threads"
    )
    print(f"\nthe loader with threads on {result['cores']} cores, alone and beside the training ({network}):")
    heads = ("threads", "images/s alone", "of the decoder", "fed step, ms", "against in memory", "data wait")
    cells = ("images_per_second", "of_decoder", "step_ms", "step", "data_wait")
    print_table([heads, *((str(row["threads"]), *(float(row[cell]) for cell in cells)) for row in result["rows"])])
