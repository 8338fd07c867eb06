"""Our training loop with everything on against a bare PyTorch loop: same network, same batches, same optimiser.

The bare loop has its batch in memory, decoded and normalised, and does forward, loss, backward and step. Ours reads,
decodes and augments JPEGs, measures, logs to metrics.jsonl and W&B (offline) and looks for a stop; a checkpoint is
timed once a round and shared out over the 500 steps between two. The two take turns within one process; medians over
the rounds are compared. Without a GPU the decoder's threads take their time from the same cores that train, which a
small network feels most.
"""

import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator

from benchmarks.common import arguments, machine, print_table, write_result
from job.config import Config
from job.config_file import build_config
from job.data.augment import Augmentation, augment, normalise
from job.data.manifest import Manifest
from job.data.records import DOMAINS, SOURCE
from job.data.shards import write_shards
from job.data.stream import BatchLoader, DomainStream, ShardStore
from job.models.build import build_model
from job.monitor.recorder import Recorder
from job.objectives import dann
from job.training.loop import Callbacks, fit
from job.training.optimizer import build_optimizer
from job.training.run_folder import describe, save
from job.training.stop import Stop

SIZE = 64
LEAST = 0.95
CHECKPOINT_EVERY = 500  # steps, as by default
CASES = {  # backbone -> images per domain, steps a round, rounds; on a CPU and on a GPU
    "cpu": {"compact": (64, 24, 4), "resnet18": (16, 10, 3)},
    "cuda": {"compact": (256, 200, 5), "resnet18": (256, 200, 5), "resnet50": (128, 100, 5)},
}


def measure(backbone: str, batch: int, steps: int, rounds: int, manifest: Manifest, folder: Path) -> dict:
    """Median seconds a step of both loops, and what of ours was spent waiting for data."""
    accelerator = Accelerator(step_scheduler_with_optimizer=False)
    content = {
        "name": backbone,
        "output": str(folder / "runs"),
        "data": {"shards": str(folder / "shards"), "global_batch_size": batch},
        "model": {"backbone": backbone},
        "train": {"steps": 10**6, "log_every": steps, "eval_every": 10**6, "checkpoint_every": 10**6},
        "wandb": {"mode": "offline"},
    }
    config = build_config(content, "benchmark")
    (config.run_folder / "checkpoints").mkdir(parents=True)
    model = build_model(config.model, SIZE, len(manifest.class_names), 0)
    model, optimizer = accelerator.prepare(model, build_optimizer(model, config.optimizer))
    recorder = Recorder(config, config.run_folder, 0, None, {}, main=True)
    stop = Stop(config.run_folder / "stop", timedelta(seconds=60))
    ours, bare, waits = [], [], []
    try:
        for number in range(rounds + 1):  # the first one warms up
            first = number * steps
            bare.append(_bare(model, optimizer, accelerator, manifest, config, steps) / steps)
            began = time.perf_counter()
            wait = _ours(model, optimizer, accelerator, manifest, config, recorder, stop, first, steps)
            _synchronise()
            ended = time.perf_counter()
            meta = describe(config, manifest, accelerator, recorder.wandb_id) | {"step": first + steps, "best": {}}
            save(config.run_folder, config, meta, accelerator.unwrap_model(model), optimizer, accelerator, False)
            ours.append((ended - began) / steps + (time.perf_counter() - ended) / CHECKPOINT_EVERY)
            waits.append(wait / steps)
    finally:
        stop.close()
        recorder.close(0)
    return {
        "backbone": backbone,
        "images_per_domain": batch,
        "bare_ms": 1000 * statistics.median(bare[1:]),
        "ours_ms": 1000 * statistics.median(ours[1:]),
        "ours_waiting_for_data_ms": 1000 * statistics.median(waits[1:]),
        "ratio": statistics.median(bare[1:]) / statistics.median(ours[1:]),
        "least": LEAST,
    }


def _streams(manifest: Manifest, config: Config) -> list[DomainStream]:
    store = ShardStore(config.data.shards)
    settings = {"seed": 0, "streams": config.data.streams, "global_batch_size": config.data.global_batch_size}
    return [DomainStream(manifest, d, store, labelled=d == SOURCE, **settings) for d in DOMAINS]


def _bare(model, optimizer, accelerator: Accelerator, manifest: Manifest, config: Config, steps: int) -> float:
    with BatchLoader(_streams(manifest, config), seed=0, stop_step=1, device=accelerator.device) as loader:
        batch = next(loader)
        images, labels = normalise(batch.images, config.data.mean, config.data.std).clone(), batch.labels.clone()
    lambda_ = torch.tensor(0.5, device=accelerator.device)
    model.train()
    _synchronise()
    began = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        dann.loss(model(images, lambda_), labels, lambda_, config.objective, None).total.backward()
        optimizer.step()
    _synchronise()
    return time.perf_counter() - began


def _ours(model, optimizer, accelerator, manifest, config, recorder, stop, first: int, steps: int) -> float:
    augmentation = Augmentation(**config.data.augment.model_dump())
    callbacks = Callbacks(recorder.log, lambda step: ({}, 0.0), lambda *_: 0.0, str, stop.agreed, lambda step: {})
    streams = _streams(manifest, config)
    with BatchLoader(streams, seed=0, start_step=first, stop_step=first + steps, device=accelerator.device) as loader:
        fit(
            config,
            accelerator,
            model,
            optimizer,
            loader,
            lambda b: augment(b.images, b.draws, augmentation, config.data.mean, config.data.std),
            dann,
            None,
            callbacks,
        )
        return loader.wait_seconds


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
        for backbone, case in CASES["cuda" if torch.cuda.is_available() else "cpu"].items():
            results.append(measure(backbone, *case, manifest, Path(folder)))
    heads = ("backbone", "images_per_domain", "bare_ms", "ours_ms", "ours_waiting_for_data_ms", "ratio", "least")
    print_table([heads, *([row[head] for head in heads] for row in results)])
    missing = None if torch.cuda.is_available() else "no GPU in this machine: the GPU rows are missing"
    write_result(args.out, "step", {"rows": results, "missing": missing}, where)


if __name__ == "__main__":
    main()
