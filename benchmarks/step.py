"""Our training loop with everything on against a bare PyTorch loop: same network, same batches, same optimiser.

The bare loop has its batch in memory, decoded and normalised, and does forward, loss, backward and step. Ours reads,
decodes and augments JPEGs, measures, logs to metrics.jsonl and W&B (offline) and looks for a stop; a checkpoint is
timed at the end and shared out over the 500 steps between two. The two take turns of a few steps within one process and
the median of the turns' ratios counts, because a machine that others use changes its speed from minute to minute.
Without a GPU the decoder's threads take their time from the same cores that train, which a small network feels most. So
that one is measured once more without memory for decoded images (data.decoded_gib=0): as on data that does not fit.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator

from benchmarks.common import arguments, domain_streams, machine, print_table, write_result
from benchmarks.recording import EverySecondTurn, logging_cost
from job.config import Config
from job.config_file import build_config
from job.data.augment import Augmentation, normalise
from job.data.manifest import Manifest
from job.data.prepare import Preparation
from job.data.shards import write_shards
from job.data.stream import Batch, BatchLoader
from job.models.build import build_model, memory_format
from job.monitor.recorder import Recorder
from job.objectives import dann
from job.training.loop import Callbacks, fit
from job.training.optimizer import build_optimizer
from job.training.run_folder import describe, save
from job.training.stop import Stop

SIZE = 64
LEAST = 0.95
CHECKPOINT_EVERY = 500  # steps, as by default
CASES = {  # backbone -> images per domain, steps a turn, turns; on a CPU and on a GPU
    "cpu": {"compact": (64, 20, 40), "resnet18": (16, 8, 20)},
    "cuda": {"compact": (256, 100, 20), "resnet18": (256, 100, 20), "resnet50": (128, 50, 20)},
}


def measure(
    backbone: str, batch: int, steps: int, turns: int, manifest: Manifest, folder: Path, decoded: dict | None = None
) -> dict:
    """Median seconds a step of both loops, and what of ours was spent waiting for data."""
    accelerator = Accelerator(step_scheduler_with_optimizer=False)
    content = {
        "name": f"{backbone}-decoding" if decoded else backbone,
        "output": str(folder / "runs"),
        "data": {"shards": str(folder / "shards"), "global_batch_size": batch} | (decoded or {}),
        "model": {"backbone": backbone},
        "train": {"steps": (turns + 1) * steps, "log_every": steps, "eval_every": 10**6, "checkpoint_every": 10**6},
        "evaluation": {"figures": False},
        "wandb": {"mode": "offline"},
    }
    config = build_config(content, "benchmark")
    (config.run_folder / "checkpoints").mkdir(parents=True)
    model = build_model(config.model, SIZE, len(manifest.class_names), 0)
    model = model.to(memory_format=memory_format(config.model, accelerator.device))
    model, optimizer = accelerator.prepare(model, build_optimizer(model, config.optimizer))
    recorder = Recorder(config, config.run_folder, 0, None, {}, main=True)
    stop = Stop(config.run_folder / "stop", timedelta(seconds=60))
    recording = EverySecondTurn(recorder)
    bare = _bare(model, optimizer, accelerator, config)
    try:
        pairs, waits = _ours(model, optimizer, accelerator, config, recording, stop, lambda: bare(steps))
        began = time.perf_counter()
        meta = describe(config, manifest, accelerator, recorder.wandb_id) | {"step": config.train.steps, "best": {}}
        save(config.run_folder, config, meta, accelerator.unwrap_model(model), optimizer, accelerator, False)
        checkpoint = (time.perf_counter() - began) / CHECKPOINT_EVERY
    finally:
        stop.close()
        recorder.close(0)
    logging = logging_cost(pairs, recording.seconds, steps)
    pairs = [(ours / steps + checkpoint, theirs / steps) for ours, theirs in pairs[1::2]]  # the logged ones
    return {
        "backbone": backbone,
        "decodes": "every pass" if decoded else "first pass",
        "images_per_domain": batch,
        "bare_ms": 1000 * statistics.median(theirs for _, theirs in pairs),
        "ours_ms": 1000 * statistics.median(ours for ours, _ in pairs),
        "ours_waiting_for_data_ms": 1000 * waits / config.train.steps,
        "ratio": statistics.median(theirs / ours for ours, theirs in pairs),
        "least": None if decoded else LEAST,
        "logging": logging,
    }


def _streams(config: Config):
    data = config.data
    return domain_streams(data.shards, data.streams, data.global_batch_size, decoded_gib=data.decoded_gib)


def _bare(model, optimizer, accelerator: Accelerator, config: Config) -> Callable[[int], float]:
    """A function that makes so many steps and returns the seconds they took."""
    last = _channels_last(config, accelerator)
    with BatchLoader(_streams(config), seed=0, stop_step=1, device=accelerator.device) as loader:
        batch = next(loader)
        images, labels = normalise(batch.images, config.data.mean, config.data.std, last), batch.labels.clone()
    lambda_ = torch.tensor(0.5, device=accelerator.device)

    def steps(number: int) -> float:
        _synchronise()
        began = time.perf_counter()
        for _ in range(number):
            optimizer.zero_grad(set_to_none=True)
            dann.loss(model(images, lambda_), labels, lambda_, config.objective, None).total.backward()
            optimizer.step()
        _synchronise()
        return time.perf_counter() - began

    return steps


class _Turns:
    """A loader's batches; after every `steps` of them the loop waits while `other` has its turn.

    The loader's buffers are full at the start of a turn and are so again at its end, within the time that is taken.
    """

    def __init__(self, loader: BatchLoader, turns: int, steps: int, other: Callable[[], float]):
        self._loader, self._turns, self._steps, self._other = loader, turns, steps, other
        self.pairs: list[tuple[float, float]] = []  # seconds of a turn: the loop's, the other's
        self.skipped = 0

    @property
    def wait_seconds(self) -> float:
        return self._loader.wait_seconds

    def __iter__(self) -> Iterator[Batch]:
        self._fill()
        for _ in range(self._turns):
            began = time.perf_counter()
            yield from itertools.islice(self._loader, self._steps)
            self._fill()
            self.pairs.append((time.perf_counter() - began, self._other()))

    def _fill(self) -> None:
        futures.wait([filled for _, filled in self._loader._pending])
        _synchronise()


def _ours(model, optimizer, accelerator, config, recorder, stop, other) -> tuple[list, float]:
    """Seconds of every turn of our loop and of `other`; seconds waited for data."""
    augmentation = Augmentation(**config.data.augment.model_dump())
    callbacks = Callbacks(recorder.log, lambda step: ({}, 0.0), lambda *_: 0.0, str, stop.agreed, lambda step: {})
    last, device = _channels_last(config, accelerator), accelerator.device
    preparation = Preparation(augmentation, config.data.mean, config.data.std, last, device)
    settings = {"seed": 0, "stop_step": config.train.steps, "device": device, "on_host": preparation.on_host}
    with BatchLoader(_streams(config), **settings) as loader:
        turns = _Turns(loader, config.train.steps // config.train.log_every, config.train.log_every, other)
        fit(config, accelerator, model, optimizer, turns, preparation, dann, None, callbacks)
        return turns.pairs, loader.wait_seconds


def _channels_last(config: Config, accelerator: Accelerator) -> bool:
    """As the job does: both loops use the memory format that is faster for the network."""
    return memory_format(config.model, accelerator.device) == torch.channels_last


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    args = arguments(__doc__.splitlines()[0], "step").parse_args()
    where = machine()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        options = {"train": 2048, "val": 32, "test": 32}
        manifest = write_shards(
            "faces", None, Path(folder) / "shards", size=SIZE, shards=16, options=options, progress=False
        )
        cases = CASES["cuda" if torch.cuda.is_available() else "cpu"]
        for backbone, case in cases.items():
            results.append(measure(backbone, *case, manifest, Path(folder)))
        small = next(iter(cases))
        results.append(measure(small, *cases[small], manifest, Path(folder), {"decoded_gib": 0}))
    heads = (
        "backbone",
        "decodes",
        "images_per_domain",
        "bare_ms",
        "ours_ms",
        "ours_waiting_for_data_ms",
        "ratio",
        "least",
    )
    print_table([heads, *([row[head] for head in heads] for row in results)])
    print("\nlogging, share of a step:")
    costs = ("call_ms", "on_against_off", "share", "share_by_default", "most")
    print_table([("backbone", *costs), *((row["backbone"], *(row["logging"][c] for c in costs)) for row in results)])
    missing = None if torch.cuda.is_available() else "no GPU in this machine: the GPU rows are missing"
    write_result(args.out, "step", {"rows": results, "missing": missing}, where)


if __name__ == "__main__":
    main()
