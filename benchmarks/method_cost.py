"""The cost of a method: the time of an update relative to source_only's, with the same images and the same network.

All methods take turns of a few updates in one process, and the median of the turns' ratios counts, because the speed of
a shared machine changes from minute to minute. It is the CPU time, or on a GPU the elapsed time, of the update with the
augmentation of its views, without reading, evaluation and checkpoint.

    python -m benchmarks.method_cost                    # the networks and batches of configs/faces.yaml and digits.yaml
"""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.bare import synchronise
from benchmarks.common import arguments, domain_streams, print_table, write_result
from benchmarks.study import METHODS
from job.config.load import load_config
from job.evaluation.compare import LOWER, UPPER
from job.shards.manifest import Manifest
from job.shards.reading.batch_loader import Batch, BatchLoader
from job.shards.writing.write_shards import write_shards
from job.training.distributed import build_accelerator
from job.training.learner import Learner, build_learner

CASES = {"faces": ("configs/faces.yaml", 48), "digits": ("configs/digits.yaml", 28)}  # configuration, size in px
COMPARED = tuple(name for name in METHODS if name not in (UPPER, "adabn"))  # whose updates are those of source_only


class Updates:
    """Updates of one method on one batch, over and over."""

    def __init__(self, config: str, method: str, shards: Path, manifest: Manifest) -> None:
        self._config = load_config(Path(config), [f"data.shards={shards}", f"objective.name={method}"])
        self._accelerator = build_accelerator(self._config)
        self._learner: Learner = build_learner(self._config, manifest, self._accelerator)
        self._batch = self._one_batch(shards)

    def seconds(self, number: int) -> float:
        """Return the seconds of a number of updates."""
        clock = time.perf_counter if torch.cuda.is_available() else time.process_time
        synchronise()
        began = clock()
        for _ in range(number):
            self._learner.update(self._batch)
        synchronise()
        return clock() - began

    def _one_batch(self, shards: Path) -> Batch:
        data, prepare, reads = self._config.data, self._learner.prepare, self._learner.method.reads
        both = domain_streams(shards, 8, data.global_batch_size)
        streams = both[: len(reads)]  # of one domain its images stand for either's
        settings = {"seed": 0, "stop_step": 1, "device": self._accelerator.device}
        with BatchLoader(streams, **settings, draws=prepare.draws, on_host=prepare.on_host) as loader:
            batch = next(loader)
            copies = {name: getattr(batch, name).clone() for name in ("images", "labels", "draws")}
            return dataclasses.replace(batch, **copies)  # the loader reuses its memory


def measure(case: str, methods: Sequence[str], steps: int, turns: int, folder: Path) -> dict[str, dict[str, float]]:
    """Return method -> milliseconds of an update, and the ratio to source_only's."""
    config, size = CASES[case]
    options = {"train": 256, "val": 16, "test": 16}
    shards = folder / case
    manifest = write_shards("faces", None, shards, size=size, shards=8, options=options, progress=False)
    updates = {method: Updates(config, method, shards, manifest) for method in methods}
    for each in updates.values():
        each.seconds(2)  # the first allocates
    measured = [{method: each.seconds(steps) for method, each in updates.items()} for _ in range(turns)]
    return {
        method: {
            "ms": 1000 * statistics.median(turn[method] for turn in measured) / steps,
            "cost": statistics.median(turn[method] / turn[LOWER] for turn in measured),
        }
        for method in methods
    }


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], "method_cost")
    parser.add_argument("--steps", type=int, default=4, help="updates in a turn")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--methods", nargs="+", default=list(COMPARED))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        methods = list(dict.fromkeys([LOWER, *args.methods]))
        result = {case: measure(case, methods, args.steps, args.turns, Path(folder)) for case in CASES}
    rows = [[name, *(result[case][name]["cost"] for case in CASES)] for name in methods]
    print_table([("method", *CASES), *rows])
    write_result(
        args.out, "method_cost", {"clock": "GPU" if torch.cuda.is_available() else "CPU time", "cases": result}
    )


if __name__ == "__main__":
    main()
