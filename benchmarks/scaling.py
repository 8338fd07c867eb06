"""Images per second of one and of several ranks on this machine, and the share of the step that exchanges gradients.

Weak scaling: the same number of images for each rank, read from shards by the ranks' loaders. Each turn starts new
ranks; in it, steps with and without the exchange of gradients and buffers take turns. `communication` is the share of
the step that the exchange adds; a value below 0 is the noise of the machine. The numbers of ranks take turns too and
the median counts, because the speed of a shared machine changes from minute to minute. On a CPU each rank has an equal
share of the cores, also when it is alone; with more ranks than cores (in the result) they also wait for one another.

The rows for 8 to 1,024 GPUs are a model: benchmarks/scaling_model.py.
"""

import contextlib
import itertools
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.bare import synchronise
from benchmarks.common import arguments, machine, print_table, write_result
from benchmarks.scaling_model import model
from benchmarks.textures import write_textures
from job.config.load import build_config
from job.system.ranks import rank_hosts
from job.training.batches import TrainingBatches
from job.training.distributed import build_accelerator
from job.training.learner import build_learner
from job.training.shared_manifest import load_shared_manifest

SIZE, TRAIN = 64, 1024
CASES = {"cpu": ("compact", 32, 4), "cuda": ("resnet50", 128, 50)}  # backbone, images per rank and domain, steps
PAIRS, FIRST = 3, 2  # of steps with and without an exchange; steps that are not measured
FIGURES = Path("benchmarks/results/gpu.json")


def rank_of(rank: int, world: int, port: int, device: str, folder: Path, most: int, threads: int, results) -> None:
    """Measure as one rank; the first puts pairs of seconds of a step, with and without exchange, into `results`."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "MASTER_PORT": port}
    if world > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1"} | {name: str(value) for name, value in place.items()}
    if device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
        torch.set_num_threads(threads)
    backbone, images, steps = CASES[device]
    content = {
        "name": "scaling",
        "data": {"shards": str(folder), "global_batch_size": images * world, "streams": most, "threads": 1},
        "model": {"backbone": backbone},
        "train": {"steps": FIRST + 2 * PAIRS * steps},
        "wandb": {"mode": "disabled"},
    }
    config = build_config(content, "benchmark")
    accelerator = build_accelerator(config)
    manifest = load_shared_manifest(config, accelerator, rank_hosts(accelerator))
    learner = build_learner(config, manifest, accelerator)
    settings: dict[str, Any] = {"folder": folder, "start_step": 0, "skipped": 0}
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with TrainingBatches(config, manifest, accelerator, learner.method, learner.prepare, **settings) as batches:
        stream = iter(batches)
        for batch in itertools.islice(stream, FIRST):
            learner.update(batch)
        for exchanges in (True, False) * PAIRS:
            synchronise()
            accelerator.wait_for_everyone()
            began = time.perf_counter()
            with contextlib.nullcontext() if exchanges else accelerator.no_sync(learner._model):
                for batch in itertools.islice(stream, steps):
                    learner.update(batch)
            synchronise()
            accelerator.wait_for_everyone()
            seconds[exchanges].append((time.perf_counter() - began) / steps)
    if rank == 0:
        results.put(list(zip(seconds[True], seconds[False], strict=True)))
    accelerator.wait_for_everyone()
    if dist.is_initialized():
        dist.destroy_process_group()


def measure(world: int, device: str, folder: Path, most: int, threads: int) -> list[tuple[float, float]]:
    """Start `world` ranks; return pairs of seconds of a step, with and without exchange."""
    context = multiprocessing.get_context("fork" if device == "cpu" else "spawn")  # CUDA cannot be forked
    probe = dist.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
    port = probe.port
    del probe
    results = context.SimpleQueue()
    settings = (world, port, device, folder, most, threads, results)
    ranks = [context.Process(target=rank_of, args=(rank, *settings)) for rank in range(world)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    if any(process.exitcode for process in ranks):
        raise SystemExit(f"{world} ranks: exit codes {[process.exitcode for process in ranks]}")
    return results.get()


def row_of(world: int, pairs: list[tuple[float, float]], images: int) -> dict[str, Any]:
    """Return the figures of `world` ranks: medians over the pairs."""
    step = statistics.median(both for both, _ in pairs)
    share = statistics.median(1 - without / both for both, without in pairs) if world > 1 else 0.0
    row = {"ranks": world, "images_per_second": 2 * images * world / step, "step_ms": 1000 * step}
    return row | {"communication": share, "pairs": pairs}


def main(words: list[str] | None = None) -> None:
    parser = arguments(__doc__.splitlines()[0], "scaling")
    parser.add_argument("--ranks", type=int, nargs="+", help="default: 1, 2, 4 on a CPU, or 1, 2, 4, ... GPUs")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--figures", type=Path, default=FIGURES, help="of benchmarks.gpu, for the model (%(default)s)")
    options = parser.parse_args(words)
    where = machine()
    device, cores = ("cuda" if where["gpus"] else "cpu"), where["cores"]
    powers = [2**i for i in range(where["gpus"].bit_length())] if where["gpus"] else [1, 2, 4]
    counts = sorted(options.ranks or powers)
    backbone, images, steps = CASES[device]
    most = max(counts)
    pairs: dict[int, list[tuple[float, float]]] = {world: [] for world in counts}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "shards"
        write_textures(folder, SIZE, TRAIN, 4 * most)
        for turn in range(options.turns):
            for world in counts:
                pairs[world] += measure(world, device, folder, most, max(cores // most, 1))
                print(f"turn {turn + 1}: {world} rank(s), {1000 * pairs[world][-1][0]:.0f} ms a step", flush=True)
    rows = [row_of(world, pairs[world], images) for world in counts]
    alone = rows[0]["images_per_second"] / rows[0]["ranks"]
    for row in rows:
        row["efficiency"] = row["images_per_second"] / row["ranks"] / alone
    modelled = model(options.figures)
    names = ("ranks", "images_per_second", "step_ms", "efficiency", "communication")
    print_table(
        [("ranks", "images/s", "ms a step", "efficiency", "communication"), *([r[n] for n in names] for r in rows)]
    )
    print("\na model, not measured; its assumptions are in the result:")
    heads = ("backbone", "between_nodes", "gpus", "compute_ms", "step_ms", "communication", "images_per_second")
    print_table([heads, *([row[head] for head in heads] for row in modelled["rows"])])
    result = {"backbone": backbone, "images_per_rank_and_domain": images, "size": SIZE, "steps": steps, "cores": cores}
    write_result(options.out, "scaling", result | {"rows": rows, "model": modelled}, where)


if __name__ == "__main__":
    main()
