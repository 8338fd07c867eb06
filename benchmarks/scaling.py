"""Images per second of one and of several ranks on this machine: weak scaling efficiency.

Every run is launch/local.sh with processes that exchange gradients, and the same number of images for each rank. The
numbers of ranks take turns and the median of the turns counts, because the speed of a shared machine changes from
minute to minute. On a CPU each rank has an equal share of the cores, also when it is alone.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from benchmarks.common import arguments, machine, print_table, write_result
from job.shards.writing.write_shards import write_shards

SIZE = 64
IMAGES = {"cpu": ("compact", 32, 120), "cuda": ("resnet50", 128, 300)}  # backbone, images per rank and domain, steps
LOG_EVERY = 20


def speed(ranks: int, most: int, device: str, folder: Path, turn: int) -> float:
    """Return images per second over all ranks: the median of the log steps after the first two."""
    backbone, images, steps = IMAGES[device]
    name = f"{ranks}-{turn}"
    content = {
        "name": name,
        "output": str(folder / "runs"),
        "data": {"shards": str(folder / "shards"), "global_batch_size": images * ranks, "streams": most, "threads": 1},
        "model": {"backbone": backbone},
        "train": {"steps": steps, "log_every": LOG_EVERY, "eval_every": 10**6, "checkpoint_every": 10**6},
        "evaluation": {"figures": False},
        "wandb": {"mode": "disabled"},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    environment = os.environ | {"JOB_RANKS": str(ranks)}
    if device == "cpu":
        environment["OMP_NUM_THREADS"] = str(max(machine()["cores"] // most, 1))
    done = subprocess.run(["launch/local.sh", path], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"launch/local.sh {path} exited with {done.returncode}:\n{done.stderr[-2000:]}")
    rows = [json.loads(line) for line in (folder / "runs" / name / "metrics.jsonl").read_text().splitlines()]
    return statistics.median(row["speed/images_per_second"] for row in rows[2:] if "speed/images_per_second" in row)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], "scaling")
    parser.add_argument("--ranks", type=int, nargs="+", help="default: 1, 2, 4, ... up to the GPUs, or the cores")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    where = machine()
    device, most = ("cuda", where["gpus"]) if where["gpus"] else ("cpu", where["cores"])
    counts = options.ranks or [2**i for i in range(most.bit_length())]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sizes = {"train": 2000, "val": 64, "test": 64}
        write_shards(
            "faces", None, folder / "shards", size=SIZE, shards=16 * max(counts), options=sizes, progress=False
        )
        measured = {ranks: [] for ranks in counts}
        for turn in range(options.turns):
            for ranks in counts:
                measured[ranks].append(speed(ranks, max(counts), device, folder, turn))
                print(f"turn {turn + 1}: {ranks} rank(s), {measured[ranks][-1]:,.0f} images/s", flush=True)
    alone = statistics.median(measured[counts[0]]) / counts[0]
    rows = []
    for ranks, speeds in measured.items():
        total = statistics.median(speeds)
        rows.append({"ranks": ranks, "images_per_second": total, "efficiency": total / ranks / alone, "turns": speeds})
    print_table(
        [("ranks", "images/s", "efficiency"), *((r["ranks"], r["images_per_second"], r["efficiency"]) for r in rows)]
    )
    backbone, images, _ = IMAGES[device]
    result = {"backbone": backbone, "images_per_rank_and_domain": images, "size": SIZE, "rows": rows}
    write_result(options.out, "scaling", result, where)


if __name__ == "__main__":
    main()
