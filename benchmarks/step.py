"""Our training loop with everything on against a bare PyTorch loop: same network, same batches, same optimiser.

The bare loop runs in a separate process (benchmarks/bare.py). Its batch is in memory, decoded and normalised; it does
forward, loss, backward and step. Ours reads, decodes and augments JPEGs, measures, logs to metrics.jsonl and W&B
(offline) and checks for a stop; a checkpoint is timed at the end and divided by the 500 steps between two. The loops
take turns of a few steps and the median of the turns' ratios counts, because the speed of a shared machine changes from
minute to minute.

On a CPU, the job also makes the C library keep freed memory, which a short script does not. The overhead of the job is
therefore also measured against the same bare loop inside the job's process (`beside`): that ratio has no target.
Without a GPU the loader's threads share the cores with training, which affects a small network most. The smallest
network is therefore measured again without memory for decoded images (data.decoded_gib=0), as with data that does not
fit.
"""

import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import torch

from benchmarks.bare import bare_loop, one_batch, synchronise
from benchmarks.common import arguments, domain_streams, machine, print_table, write_result
from benchmarks.recording import EverySecondTurn, logging_cost
from job.config.load import build_config
from job.config.schema import Config
from job.evaluation.evaluator import Validation
from job.monitor.recorder import Recorder
from job.run_folder.run_folder import RunFolder
from job.shards.manifest import Manifest
from job.shards.reading.batch_loader import Batch, BatchLoader
from job.shards.writing.write_shards import write_shards
from job.train import Run, fit
from job.training.distributed import build_accelerator
from job.training.learner import Learner, build_learner
from job.training.optimizer import build_optimizer
from job.training.stop import Stop

SIZE = 64
LEAST = 0.95
CHECKPOINT_EVERY = 500  # steps, the default
CASES = {  # backbone -> images per domain, steps per turn, turns; on a CPU and on a GPU
    "cpu": {"compact": (64, 20, 40), "resnet18": (16, 8, 20)},
    "cuda": {"compact": (256, 100, 20), "resnet18": (256, 100, 20), "resnet50": (128, 50, 20)},
}


def measure(
    backbone: str, batch: int, steps: int, turns: int, manifest: Manifest, folder: Path, decoded: dict | None = None
) -> dict:
    """Return the median time per step of both loops, and the time that ours waits for data."""
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
    accelerator = build_accelerator(config)
    learner = build_learner(config, manifest, accelerator)
    rows, _ = one_batch(config, SIZE, accelerator.device)
    beside = bare_loop(rows, learner.method, build_optimizer(learner.method, config.optimizer, accelerator.device))
    with RunFolder(config, manifest, accelerator) as run:
        recorder = Recorder(config, run.path, run.metrics, None, {})
        stop = Stop(run.path / "stop", timedelta(seconds=60))
        recording = EverySecondTurn(recorder)
        try:
            with Bare(backbone, batch, folder / "shards") as bare:
                others = [lambda: bare.steps(steps), lambda: beside(steps)]
                measured, waits = _ours(learner, accelerator, config, recording, stop, others)
            began = time.perf_counter()
            weights, trainer = learner.evaluated.state_dict(), learner.trainer_state()
            run.save(config.train.steps, {}, None, weights, trainer, wandb_id=recorder.wandb_id, skipped=0)
            checkpoint = (time.perf_counter() - began) / CHECKPOINT_EVERY
        finally:
            stop.close()
            recorder.close(0)
        run.end(0)
    logging = logging_cost([(ours, theirs) for ours, theirs, _ in measured], recording.seconds, steps)
    # the logged turns
    measured = [(ours / steps + checkpoint, theirs / steps, here / steps) for ours, theirs, here in measured[1::2]]
    ours, theirs, here = (statistics.median(column) for column in zip(*measured))
    return {
        "backbone": backbone,
        "decodes": "every pass" if decoded else "first pass",
        "images_per_domain": batch,
        "bare_ms": 1000 * theirs,
        "beside_ms": 1000 * here,
        "ours_ms": 1000 * ours,
        "ours_waiting_for_data_ms": 1000 * waits / config.train.steps,
        "ratio": statistics.median(theirs / ours for ours, theirs, _ in measured),
        "ratio_beside": statistics.median(here / ours for ours, _, here in measured),
        "least": None if decoded else LEAST,
        "logging": logging,
    }


def _streams(config: Config):
    data = config.data
    return domain_streams(data.shards, data.streams or 16, data.global_batch_size, decoded_gib=data.decoded_gib)


class Bare:
    """The bare loop in its process, which sleeps between calls of `steps`."""

    def __init__(self, backbone: str, batch: int, shards: Path) -> None:
        words = [sys.executable, "-m", "benchmarks.bare", backbone, batch, shards, SIZE]
        self._process = subprocess.Popen([*map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def steps(self, number: int) -> float:
        """Run steps and return their seconds."""
        print(number, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def __enter__(self) -> "Bare":
        self.steps(3)  # wait until it has started
        return self

    def __exit__(self, *_) -> None:
        self._process.stdin.close()
        self._process.wait()


class _Turns:
    """A loader's batches; after every `steps` of them the loop waits while each of the `others` has its turn.

    The loader's buffers are full at the start of a turn and again at its end; the time to fill them counts.
    """

    def __init__(self, loader: BatchLoader, turns: int, steps: int, others: Sequence[Callable[[], float]]):
        self._loader, self._turns, self._steps, self._others = loader, turns, steps, others
        self.seconds: list[tuple[float, ...]] = []  # per turn: of the loop, of the others
        self.skipped = 0
        self.images_per_step = 1  # speeds in images are not used

    def epochs(self, step: int) -> dict[str, float]:
        return {}

    @property
    def wait_seconds(self) -> float:
        return self._loader.wait_seconds

    def __iter__(self) -> Iterator[Batch]:
        self._fill()
        for _ in range(self._turns):
            began = time.perf_counter()
            yield from itertools.islice(self._loader, self._steps)
            self._fill()
            self.seconds.append((time.perf_counter() - began, *(other() for other in self._others)))

    def _fill(self) -> None:
        futures.wait([future for _, future in self._loader._pending])
        synchronise()


def _ours(learner: Learner, accelerator, config, recorder, stop, others) -> tuple[list, float]:
    """Return the seconds of every turn of our loop and of the `others`, and the seconds that ours waited for data.

    Evaluation and checkpoint of the last step are skipped.
    """
    folder = SimpleNamespace(
        evaluation_pending=False, improves=lambda score: False, last_checkpoint=str, save=lambda *_, **__: None
    )
    evaluator = SimpleNamespace(validate=lambda step: Validation({}, 0.0, []), class_names=())
    device = accelerator.device
    settings = {"seed": 0, "stop_step": config.train.steps, "device": device, "on_host": learner.prepare.on_host}
    with BatchLoader(_streams(config), **settings) as loader:
        turns = _Turns(loader, config.train.steps // config.train.log_every, config.train.log_every, others)
        fit(Run(config, accelerator, folder, learner, turns, evaluator, recorder, stop))
        return turns.seconds, loader.wait_seconds


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
        "beside_ms",
        "ours_ms",
        "ours_waiting_for_data_ms",
        "ratio",
        "ratio_beside",
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
