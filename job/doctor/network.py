"""Checks between nodes: clocks, and an all-reduce of every pair."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import torch
import torch.distributed as dist

from job.doctor.findings import FAIL, OK, WARN, Finding, below
from job.system.errors import first_line

MEBIBYTE = 2**20


def clock_offset(store: dist.Store, rank: int, world: int, questions: int = 5) -> float:
    """Return the seconds that this rank's clock is ahead of rank 0's, from the fastest answer (as in NTP).

    All ranks must call this. Rank 0 answers the others in order, and returns 0.
    """
    if rank == 0:
        for other in range(1, world):
            for number in range(questions):
                store.get(f"time/{other}/{number}")
                store.set(f"time/{other}/{number}/answer", repr(time.time()))
        return 0.0
    best = (float("inf"), 0.0)
    for number in range(questions):
        sent = time.time()
        store.set(f"time/{rank}/{number}", "")
        answer = float(store.get(f"time/{rank}/{number}/answer"))
        now = time.time()
        best = min(best, (now - sent, (sent + now) / 2 - answer))
    return best[1]


def clock(offset: float) -> Finding:
    level = FAIL if abs(offset) > 60 else WARN if abs(offset) > 1 else OK
    advice = "" if level == OK else "run chrony or ntpd: munge rejects wrong clocks, and times of files are wrong"
    return Finding("clock", level, f"{1000 * offset:+.0f} ms from the head" if abs(offset) > 0.02 else "agrees", advice)


def rounds(world: int) -> Iterator[list[tuple[int, int]]]:
    """Yield rounds of pairs: every pair of ranks once, and no rank twice in a round (the circle method)."""
    players = list(range(world)) + ([None] if world % 2 else [])
    for _ in range(len(players) - 1):
        pairs = zip(players[: len(players) // 2], reversed(players[len(players) // 2 :]))
        yield [(min(pair), max(pair)) for pair in pairs if None not in pair]
        players.insert(1, players.pop())


def all_reduce(
    store: dist.Store, rank: int, hosts: list[str], backend: str, megabytes: int = 64, timeout: float = 60.0
) -> list[Finding]:
    """Check and time an all-reduce between this rank and each other; the lower rank of a pair returns its finding.

    Bandwidth is bytes of the tensor over the time of one all-reduce of two ranks. A pair that fails does not affect
    the others: each pair has its own store and process group.
    """
    device = torch.device("cuda", 0) if backend == "nccl" else torch.device("cpu")
    findings = []
    for number, pairs in enumerate(rounds(len(hosts))):
        for low, high in pairs:
            if rank not in (low, high):
                continue
            own = dist.PrefixStore(f"pair/{low}/{high}", store)
            where = f"{hosts[low]} - {hosts[high]}"
            try:
                speed = _measure(own, int(rank == high), backend, device, megabytes, timeout)
                findings.append(_finding(speed, where, backend))
            except (RuntimeError, ValueError) as error:  # DistBackendError and gloo's errors are RuntimeErrors
                reason = first_line(error)[:160]
                advice = "is a firewall between them? choose the network with GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME"
                findings.append(Finding(f"{backend} all-reduce", FAIL, f"failed: {reason}", advice, where))
        # all pairs start the next round together, so that their timings do not affect one another
        store.add(f"round/{backend}/{number}", 1)
        _wait_until(lambda n=number: store.add(f"round/{backend}/{n}", 0) >= len(hosts), 2 * timeout)
    return [finding for finding in findings if finding.where.startswith(f"{hosts[rank]} - ")]


def _wait_until(happened: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.02)


def _measure(store, member: int, backend: str, device: torch.device, megabytes: int, timeout: float) -> float:
    """Return the bytes per second of an all-reduce of two ranks. Raises ValueError when its result is wrong."""
    limit = timedelta(seconds=timeout)
    dist.init_process_group(backend, store=store, rank=member, world_size=2, timeout=limit)
    try:
        for size in (1, 1000):  # correct, and connected
            tensor = torch.arange(size, dtype=torch.float64, device=device) * (member + 1)
            dist.all_reduce(tensor)
            if not torch.equal(tensor.cpu(), 3 * torch.arange(size, dtype=torch.float64)):
                raise ValueError(f"wrong sum over {size} numbers")
        tensor = torch.ones(megabytes * MEBIBYTE // 4, device=device)
        times = []
        for _ in range(3):
            dist.barrier()
            began = time.perf_counter()
            dist.all_reduce(tensor)
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
        if not bool((tensor == 8).all()):  # doubled three times
            raise ValueError(f"wrong sum over {len(tensor)} numbers")
        return megabytes * MEBIBYTE / min(times)
    finally:
        dist.destroy_process_group()


def _finding(speed: float, where: str, backend: str) -> Finding:
    advice = "is that the fast network? set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME; NCCL_DEBUG=INFO shows its choice"
    finding = below(f"{backend} all-reduce", speed, 100e6, 10e6, f"correct, {speed / 1e6:.0f} MB/s", advice)
    return Finding(finding.check, finding.level, finding.result, finding.advice, where)


def gather(store: dist.Store, name: str, rank: int, world: int, value) -> list:
    """Return the values of all ranks, in order."""
    store.set(f"{name}/{rank}", json.dumps(value))
    return [json.loads(store.get(f"{name}/{other}")) for other in range(world)]
