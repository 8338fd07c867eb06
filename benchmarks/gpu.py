"""Speed of updates on one GPU: ours, a bare loop with the same network, and the rate of matrix multiplications.

`update`: Learner.update of the method dann, with the batch in GPU memory as bytes. `bare`: forward, loss, backward and
step of the same module without Accelerate, with a normalised batch in memory. The two take turns, and the median of the
turns' ratios counts. `fed`: the same updates with the loader, which decodes a JPEG for every image of every batch
(data.decoded_gib=0) with --threads threads. Its wait is the share of the time in which the loop waits for a batch. The
numbers of threads in `threads` are measured with the first precision that was measured, not compiled.

FLOPs are those that torch.utils.flop_counter counts in one update: matrix multiplications, convolutions, attention;
a multiply-add is two. The reference rate is that of one large multiplication in the same precision: float32 with TF32
(no), or bf16. The mode `compiled` compiles the feature extractor (model.compile), also of the bare loop; `graphs`
compiles our whole forward pass into CUDA graphs (model.compile_scope=method, model.compile_mode=reduce-overhead). Cases
that would begin after --most-seconds are left out, and the result names them.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate.state import AcceleratorState
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.bare import bare_loop, one_batch, synchronise
from benchmarks.common import arguments, machine, print_table, write_result
from benchmarks.feeding import feed, first_batch, loader_of, updates
from benchmarks.textures import write_textures
from job.config.load import build_config
from job.config.schema import Config
from job.shards.manifest import Manifest
from job.training.distributed import build_accelerator
from job.training.learner import Learner, build_learner
from job.training.optimizer import build_optimizer

NETWORKS = {"resnet18": (64, 256), "resnet50": (224, 64), "vit_b_16": (224, 64)}  # pixels, images per domain
SMALL = {"resnet18": (64, 2), "resnet50": (64, 2), "vit_b_16": (64, 2)}
GRAPHS = {"compile": True, "compile_scope": "method", "compile_mode": "reduce-overhead"}
MODES = {"eager": {}, "compiled": {"compile": True}, "graphs": GRAPHS}  # settings of the section `model`
PRECISIONS = {"no": torch.float32, "bf16": torch.bfloat16}
WANTED = {"of_bare": 0.97, "data_wait": 0.02}
MISSING = "no GPU in this machine: the GPU rows are missing"


class Plan(NamedTuple):
    """How much is measured.

    Attributes:
        images: training images per domain in the shards.
        shards: training shards per domain, and streams.
        turns: turns of a case.
        seconds: about the length of a turn.
        matrix: edge of the matrices that are multiplied.
        threads: numbers of decoding threads.
        first: steps at the start of the fed loop that are not measured: its buffers are full then.
    """

    images: int
    shards: int
    turns: int
    seconds: float
    matrix: int
    threads: tuple[int, ...]
    first: int


FULL = Plan(2048, 16, turns=5, seconds=0.8, matrix=8192, threads=(1, 2, 4, 8, 16), first=5)
MINIATURE = Plan(8, 2, turns=1, seconds=0.1, matrix=256, threads=(1, 2), first=1)


def matrix_rate(precision: str, edge: int, device: torch.device) -> float:
    """Return the FLOP/s of multiplying two square matrices: the best of ten."""
    a, b = (torch.randn(edge, edge, device=device, dtype=PRECISIONS[precision]) for _ in range(2))
    calls = 10 if device.type == "cuda" else 1
    best = 0.0
    for _ in range(10):
        synchronise()
        began = time.perf_counter()
        for _ in range(calls):
            a @ b
        synchronise()
        best = max(best, calls * 2 * edge**3 / (time.perf_counter() - began))
    return best


def configuration(backbone: str, images: int, shards: Path, streams: int, precision: str, mode: str) -> Config:
    content = {
        "name": "gpu",
        "data": {"shards": str(shards), "global_batch_size": images, "streams": streams},
        "model": {"backbone": backbone, **MODES[mode]},
        "objective": {"name": "dann"},
        "train": {"precision": precision, "steps": 10**6},
        "wandb": {"mode": "disabled"},
    }
    return build_config(content, "benchmark")


def bare(learner: Learner, config: Config, size: int, device: torch.device) -> Callable[[int], float]:
    """Return the bare loop over the learner's module, without what Accelerate has put around its forward pass."""
    method = learner.method
    rows, _ = one_batch(config, size, device)
    bf16 = config.train.precision == "bf16"

    def forward(batch, progress):
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return type(method).forward(method, batch, progress)

    return bare_loop(rows, forward, build_optimizer(method, config.optimizer, device))


def measure(config: Config, manifest: Manifest, plan: Plan, threads: list[int]) -> tuple[dict[str, Any], int | None]:
    """Return the figures of a case, and the FLOPs of an update (None if it is compiled: they are not counted there).

    `threads` are numbers of decoding threads; the first one is that of `fed`.
    """
    AcceleratorState._reset_state(reset_partial_state=True)  # Accelerate allows one precision in a process
    accelerator = build_accelerator(config)
    device, on_gpu = accelerator.device, accelerator.device.type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    learner = build_learner(config, manifest, accelerator)
    batch = first_batch(learner, config, device)
    ours = updates(learner, batch)
    began = time.perf_counter()
    ours(3 if on_gpu else 1)
    start = time.perf_counter() - began
    memory = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None
    flops = None
    if not config.model.compile:
        with FlopCounterMode(display=False) as counter:
            learner.update(batch)
        flops = counter.get_total_flops()
    other = bare(learner, config, manifest.size, device)
    other(3 if on_gpu else 1)
    steps = max(2, int(plan.seconds / ours(2) * 2))
    turns = [(ours(steps), other(steps)) for _ in range(plan.turns)]
    seconds = statistics.median(own for own, _ in turns) / steps
    images = 2 * config.data.global_batch_size
    fed = []
    for count in threads:
        with loader_of(learner, config, device, plan.first + 2 * steps, count) as loader:
            fed.append({"threads": count} | feed(learner, loader, plan.first))
    figures = {
        "start_seconds": start,
        "step_ms": 1000 * seconds,
        "images_per_second": images / seconds,
        "bare_images_per_second": images * steps / statistics.median(theirs for _, theirs in turns),
        "of_bare": statistics.median(theirs / own for own, theirs in turns),
        "fed": fed[0] | {"images_per_second": 1000 * images / fed[0]["step_ms"]},
        "peak_gib": memory,
    }
    if len(fed) > 1:
        figures["threads"] = fed[1:]
    return figures, flops


def run(options, networks: dict[str, tuple[int, int]], plan: Plan, device: torch.device) -> dict[str, Any]:
    """Measure all cases, the compiled ones last, and return the result."""
    began = time.perf_counter()
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    flops: dict[str, int] = {}
    torch.set_float32_matmul_precision("high")
    rates = {precision: matrix_rate(precision, plan.matrix, device) for precision in PRECISIONS}
    cases = [(m, p, b) for m in options.modes for p in PRECISIONS for b in options.backbones]
    with tempfile.TemporaryDirectory() as folder:
        manifests = {
            size: write_textures(Path(folder) / str(size), size, plan.images, plan.shards)
            for size in sorted({networks[backbone][0] for backbone in options.backbones})
        }
        for mode, precision, backbone in cases:
            size, images = networks[backbone]
            row = {
                "backbone": backbone,
                "size": size,
                "images_per_domain": images,
                "mode": mode,
                "precision": precision,
            }
            if time.perf_counter() - began > options.most_seconds:
                left_out.append(f"{backbone} {mode} {precision}")
                continue
            shards = Path(folder) / str(size)
            config = configuration(backbone, images, shards, plan.shards, precision, mode)
            if config.model.compile:
                torch.compiler.reset()  # memory of the case before
            sweep = plan.threads if (mode, precision) == cases[0][:2] else ()
            figures, counted = measure(config, manifests[size], plan, [options.threads, *sweep])
            if counted is not None:
                flops.setdefault(backbone, counted)
            rate = flops[backbone] * 1000 / figures["step_ms"] if backbone in flops else None
            row |= figures | {"flops": flops.get(backbone), "of_matrix_rate": rate and rate / rates[precision]}
            rows.append(row)
            print(f"{backbone} {mode} {precision}: {figures['images_per_second']:,.0f} images/s", flush=True)
    return {
        "device": device.type,
        "small": options.small,
        "matrix_flops_per_second": rates,
        "matrix_edge": plan.matrix,
        "rows": rows,
        "left_out": left_out,
        "wanted": WANTED,
        "seconds": time.perf_counter() - began,
        "missing": None if device.type == "cuda" else "run on the CPU: the GPU rows are missing",
    }


def show(result: dict[str, Any]) -> None:
    heads = ("images/s", "of bare", "of matrix rate", "fed, images/s", "data wait", "GiB", "first steps, s")
    table: list[tuple] = [("network", *heads)]
    for row in result["rows"]:
        name = f"{row['backbone']} {row['size']} px {row['mode']} {row['precision']}"
        fed = row["fed"]
        cells = (row["images_per_second"], row["of_bare"], row["of_matrix_rate"], fed["images_per_second"])
        table.append((name, *cells, fed["data_wait"], row["peak_gib"], row["start_seconds"]))
    print_table(table)
    for row in result["rows"]:
        for each in row.get("threads", ()):
            wait = f"{each['step_ms']:.2f} ms, {each['data_wait']:.1%} of it waiting for data"
            print(f"{row['backbone']} {row['size']} px, decoding threads {each['threads']}: {wait}")
    if result["left_out"]:
        print(f"left out, no time: {', '.join(result['left_out'])}")
    print(f"{result['seconds']:.0f} s in all")


def parse(words: list[str] | None) -> Any:
    parser = arguments(__doc__.splitlines()[0], "gpu")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="a miniature, to test this benchmark")
    parser.add_argument("--backbones", nargs="+", choices=list(NETWORKS), help="default: all; with --small resnet18")
    parser.add_argument("--modes", nargs="+", choices=list(MODES), help="default: all; with --small eager alone")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--threads", type=int, default=min(16, cores), help="decoding threads (default: %(default)s)")
    parser.add_argument("--most-seconds", type=float, default=380, help="no case begins later (default: %(default)s)")
    options = parser.parse_args(words)
    options.backbones = options.backbones or list(NETWORKS)[: 1 if options.small else None]
    options.modes = options.modes or list(MODES)[: 1 if options.small else None]
    return options


def main(words: list[str] | None = None) -> None:
    options = parse(words)
    where = machine()
    if options.device == "cuda" and not where["gpus"]:
        print(MISSING)
        if not _measured(options.out):
            write_result(options.out, "gpu", {"rows": [], "missing": MISSING}, where)
        return
    if options.device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    networks, plan = (SMALL, MINIATURE) if options.small else (NETWORKS, FULL)
    result = run(options, networks, plan, torch.device(options.device))
    show(result)
    write_result(options.out, "gpu", result, where)


def _measured(out: Path) -> bool:
    """Return whether a file already holds the figures of a GPU, which are kept."""
    return out.exists() and bool(json.loads(out.read_text())["result"]["rows"])


if __name__ == "__main__":
    main()
