"""The start of several ranks on one machine: forks of a launcher that has imported everything, or a process each.

Runs of two steps on small images, from the command to the end. `forked` are the ranks of job/system/launch.py,
`separate` ranks are started each on its own, as by srun with a task for each rank. Both kinds take turns; medians
count. CPU seconds are those of all processes; memory is the largest sum over the ranks and the launcher of their
proportional set size, in which a page that several processes share counts once.
"""

import itertools
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import arguments, machine, print_table, write_result
from benchmarks.textures import write_textures

KINDS = ("forked", "separate")
IMAGES, SIZE, BATCH = 128, 32, 16
PERIOD = 0.2  # seconds between looks at the memory


class Start(NamedTuple):
    """Seconds until the end, CPU seconds of all processes, MiB of memory."""

    seconds: float
    cpu: float
    memory: float


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], "start")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    where = machine()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        shards = Path(folder) / "shards"
        write_textures(shards, SIZE, IMAGES, shards=BATCH)
        for ranks in args.ranks:
            numbers = itertools.count()
            starts: dict[str, list[Start]] = {kind: [] for kind in KINDS}
            for _ in range(args.turns):
                for kind in KINDS:
                    words = command(shards, Path(folder), f"{kind}-{ranks}-{next(numbers)}")
                    starts[kind].append(measure(kind, ranks, words))
            median = {k: Start(*map(statistics.median, zip(*each, strict=True))) for k, each in starts.items()}
            row = {kind: median[kind]._asdict() for kind in KINDS}
            of = {name: median["forked"]._asdict()[name] / median["separate"]._asdict()[name] for name in Start._fields}
            rows.append({"ranks": ranks, **row, "of_separate": of})
            print_table([("ranks", "start", *Start._fields), *((ranks, kind, *median[kind]) for kind in KINDS)])
    print_table([("ranks", *Start._fields), *((row["ranks"], *row["of_separate"].values()) for row in rows)])
    write_result(args.out, "start", {"turns": args.turns, "rows": rows}, where)


def command(shards: Path, output: Path, name: str) -> list[str]:
    """Return the arguments of `python -m job` for a run of two steps."""
    content = [f"name: {name}", f"output: {output}"]
    content += [
        f"data: {{shards: {shards}, global_batch_size: {BATCH}, streams: {BATCH}}}",
        "model: {backbone: compact}",
    ]
    content += ["train: {steps: 2, eval_every: 2, checkpoint_every: 2}", "evaluation: {figures: false}"]
    content += ["wandb: {mode: disabled}"]
    path = output / f"{name}.yaml"
    path.write_text("\n".join(content) + "\n")
    return ["train", "--config", str(path)]


def measure(kind: str, ranks: int, words: list[str]) -> Start:
    """Start a run, wait for it and return what it took. Raises RuntimeError if it fails."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    shared = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "JOB_EXPECTED_RANKS": str(ranks)}
    if ranks > 1:
        shared |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "GROUP_RANK": "0"}
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if kind == "forked":
        launcher = ["job.system.launch", "--preload", "job.commands.preload", "-m", "job"]
        starts = [([sys.executable, "-m", *launcher, *words], shared)]
    else:
        own = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else {} for rank in range(ranks)]
        starts = [([sys.executable, "-m", "job", *words], shared | each) for each in own]
    before, began, memory = _cpu_seconds(), time.perf_counter(), 0.0
    running = [subprocess.Popen(argv, env=os.environ | environment) for argv, environment in starts]
    while any(process.poll() is None for process in running):
        memory = max(memory, sum(map(_memory, running)))
        time.sleep(PERIOD)
    seconds = time.perf_counter() - began
    if any(process.returncode for process in running):
        raise RuntimeError(f"{kind}, {ranks} ranks: exit codes {[process.returncode for process in running]}")
    return Start(seconds, _cpu_seconds() - before, memory)


def _cpu_seconds() -> float:
    """Return the CPU time of all child processes that have ended, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _memory(process: subprocess.Popen) -> float:
    """Return the proportional set size of a process and its children, in MiB."""
    total = 0
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in (process.pid, *children):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    except OSError:  # it has just ended
        pass
    return total / 1024


if __name__ == "__main__":
    main()
