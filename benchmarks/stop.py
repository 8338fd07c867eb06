"""What the question costs, at every step, whether any rank wants to stop: an all-reduce, and the agreement by time.

Processes on this machine with Gloo, without any training: the cost of the question alone. The all-reduce of a host flag
is what version 0.1 did; its ring of N ranks has 2 (N - 1) hops. The agreement of job/training/agreement.py costs a
counter at each step, and questions to the store by time. All numbers beyond the largest measured are a model.
"""

import multiprocessing
import os
import random
import statistics
import time
from datetime import timedelta

import torch
import torch.distributed as dist

from benchmarks.common import arguments, machine, print_table, write_result
from job.system.open_files import raise_limit
from job.training.agreement import REQUESTS_PER_SECOND, SHORTEST_PERIOD, Agreement

TIMEOUT = timedelta(seconds=120)
STEP_SECONDS = 0.02  # of the pretended steps in which a stop is requested
CALLS, CHECKS = 20_000, 100
MODELLED = (128, 256, 512)


def ring(steps: int) -> float:
    """Return the seconds of a step with an asynchronous all-reduce of a flag, collected at the next step."""
    flags = dist.new_group(backend="gloo", timeout=TIMEOUT)
    dist.barrier(flags)
    pending, began = None, 0.0
    for step in range(steps + 5):
        if step == 5:
            began = time.perf_counter()
        if pending is not None:
            pending.wait()
        pending = dist.all_reduce(torch.tensor([0]), dist.ReduceOp.MAX, flags, async_op=True)
    pending.wait()
    return (time.perf_counter() - began) / steps


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def member(rank: int, world: int, port: int, steps: int, results: multiprocessing.Queue) -> None:
    """Measure as one rank of `world`; put (rank, figures) into `results`."""
    inherited = open_files()  # those of the processes that were started before, which a rank of a run does not have
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, world, rank == 0, TIMEOUT)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=TIMEOUT)
    asks, requested = rank == random.Random(world).randrange(world), []
    own = store.clone()
    agreement = Agreement(dist.PrefixStore("stop", own), rank, world, lambda: "asked" if requested else None, TIMEOUT)
    dist.barrier()
    figures = {"files_after": open_files() - inherited}
    began = time.perf_counter()
    for _ in range(CALLS):
        agreement.reached()
    figures["agreement_us"] = 1e6 * (time.perf_counter() - began) / CALLS
    dist.barrier()
    began = time.perf_counter()
    for _ in range(CHECKS):
        store.check(["nothing"])
    dist.barrier()
    figures["requests_per_second"] = world * CHECKS / (time.perf_counter() - began)
    figures["ring_us"] = 1e6 * ring(steps)
    clones = world + 1 if rank == 0 else 1  # connections of the agreement, and at the store's end those of all ranks
    figures["files_before"] = open_files() - clones - inherited
    dist.barrier()
    count, end = 0, time.perf_counter() + 0.5
    while True:
        time.sleep(STEP_SECONDS)
        if asks and not requested and time.perf_counter() > end:
            requested.append(time.time())
            agreement.hurry()
        count += 1
        if agreement.reached():
            break
    figures |= {"stopped_at": time.time(), "requested": requested[0] if requested else 0.0, "boundary": count}
    results.put((rank, figures))
    dist.barrier()
    agreement.close()
    dist.destroy_process_group()


def measure(world: int, steps: int) -> dict:
    """Start `world` processes and return their figures: medians over the ranks, files of the last one.

    The first one holds the store: it has two more connections for each rank, one for the agreement.
    """
    context = multiprocessing.get_context("fork")  # torch is imported once, not in each of 64 processes
    probe = dist.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
    port = probe.port
    del probe
    results = context.Queue()
    processes = [context.Process(target=member, args=(rank, world, port, steps, results)) for rank in range(world)]
    for process in processes:
        process.start()
    figures = dict(results.get(timeout=300) for _ in processes)
    for process in processes:
        process.join(60)
    if len({each["boundary"] for each in figures.values()}) != 1:
        raise SystemExit(f"{world} ranks stopped at different boundaries")
    middle = {
        name: statistics.median(each[name] for each in figures.values())
        for name in ("ring_us", "agreement_us", "requests_per_second")
    }
    files = {name: figures[world - 1][name] for name in ("files_before", "files_after")}
    files["files_of_the_first"] = figures[0]["files_after"]
    asked = max(each["requested"] for each in figures.values())
    stop = max(each["stopped_at"] for each in figures.values()) - asked
    return {"ranks": world, **middle, **files, "seconds_to_stop": stop, "measured": True}


def model(rows: list[dict], world: int) -> dict:
    """Extrapolate: a ring's time by its hops, the store's load by its requests, files by ranks."""
    last = rows[-1]
    hop = last["ring_us"] / (2 * (last["ranks"] - 1))
    period = max(SHORTEST_PERIOD, world / REQUESTS_PER_SECOND)
    each = 1 / last["requests_per_second"]
    # each rank asks once more, publishes, asks some ten times for the decision and reads it
    stop = period + 13 * world * each + STEP_SECONDS
    slope = {
        name: (last[name] - rows[0][name]) / (last["ranks"] - rows[0]["ranks"])
        for name in ("files_before", "files_after", "files_of_the_first")
    }
    files = {name: round(last[name] + by * (world - last["ranks"])) for name, by in slope.items()}
    return {
        "ranks": world,
        "ring_us": 2 * (world - 1) * hop,
        "agreement_us": last["agreement_us"],
        "requests_per_second": last["requests_per_second"],
        **files,
        "seconds_to_stop": stop,
        "store_load": world / period * each,
        "measured": False,
    }


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], "stop")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 8, 16, 32, 64])
    options = parser.parse_args()
    raise_limit()
    torch.set_num_threads(1)
    where = machine()
    rows = []
    for world in sorted(set(options.ranks)):
        rows.append(measure(world, steps=max(50, 1000 // world)))
        print(f"{world} ranks: done, load {os.getloadavg()[0]:.1f}", flush=True)
    if len(rows) > 1:  # a line has two points
        rows += [model(rows, world) for world in MODELLED if world > rows[-1]["ranks"]]
    heads = ("ranks", "all-reduce, us", "agreement, us", "s to stop", "files before", "after", "of the first")
    names = ("ring_us", "agreement_us", "seconds_to_stop", "files_before", "files_after", "files_of_the_first")
    label = {True: "", False: " (model)"}
    print_table([heads, *((f"{row['ranks']}{label[row['measured']]}", *(row[n] for n in names)) for row in rows)])
    write_result(options.out, "stop", {"step_seconds": STEP_SECONDS, "rows": rows}, where)


if __name__ == "__main__":
    main()
