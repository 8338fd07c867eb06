"""Report a hang: the stacks of all ranks, and which rank is missing, before the time-out ends the job."""

import contextlib
import faulthandler
import itertools
import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import _get_default_store

log = logging.getLogger("job")
SILENT, GRACE = 0.6, 0.1  # shares of the time-out: without a boundary until the stacks, then until the report
REASON = "reason.txt"
_uses = itertools.count()  # of the store by this process: equal on all ranks


class Watchdog:
    """Watches one rank of several from a thread. Close it, or use it in a `with`.

    When `beat` was not called for 0.6 of `timeout` seconds, the thread writes to `folder`:
        rank_00003.txt     the stack of every thread of rank 3
        rank_00003.pickle  the collective operations of rank 3, from PyTorch's flight recorder, where it has any
        reason.txt         which rank does not answer, or runs other code than the others; also logged as an error
    It does not end the job: the time-out of the collective operation does. If the ranks continue, reason.txt is
    deleted. A rank whose interpreter is blocked writes its stacks to stderr.
    """

    def __init__(self, folder: Path, timeout: float, store: dist.Store, rank: int, world: int) -> None:
        self._folder, self._store, self._rank, self._world = folder, store, rank, world
        self._silent, self._grace = SILENT * timeout, GRACE * timeout
        self._period = min(1.0, self._grace)
        self._boundaries = 0
        self._last = time.monotonic()
        self._closed = threading.Event()
        self._main = threading.main_thread().ident
        store.set(f"host/{rank}", socket.gethostname())
        if rank == 0:
            (folder / REASON).unlink(missing_ok=True)
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """Report that this rank has come to a boundary: a step of the training, or a batch of an evaluation."""
        self._boundaries += 1
        self._last = time.monotonic()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join(5)

    def __enter__(self) -> "Watchdog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        reported_at = -1  # the boundary of the last report
        while not self._closed.wait(self._period):
            _arm(self._silent)  # stays armed only while this thread cannot run
            if time.monotonic() - self._last < self._silent:
                if 0 <= reported_at < self._boundaries:
                    (self._folder / REASON).unlink(missing_ok=True)
                    reported_at = -1
            elif reported_at != self._boundaries:
                reported_at = self._boundaries
                try:
                    self._report()
                except Exception as error:  # the store is gone, or the disk is full: the time-out ends the job anyway
                    log.warning("cannot report a hang: %s", error)
        _disarm()

    def _report(self) -> None:
        self._folder.mkdir(exist_ok=True)
        here = location(sys._current_frames().get(self._main or 0))
        entry: dict[str, Any] = {"boundaries": self._boundaries, "at": time.time(), "where": here}
        self._store.set(f"silent/{self._rank}", json.dumps(entry))
        self._write_stacks()
        boundaries = self._boundaries
        if self._closed.wait(self._grace) or self._boundaries != boundaries:
            return
        entries = self._entries(since=entry["at"] - self._silent)
        if min(entries) == self._rank:  # the others leave it to this rank
            reason = describe([self._host(rank) for rank in range(self._world)], entries)
            seconds = time.monotonic() - self._last
            text = f"{reason}; no step for {seconds:.0f} s; stacks of all threads are in {self._folder}"
            (self._folder / REASON).write_text(f"{text}\n", encoding="utf-8")
            log.error("%s", text)

    def _write_stacks(self) -> None:
        name = f"rank_{self._rank:05d}"
        with open(self._folder / f"{name}.txt", "w", encoding="utf-8") as file:
            file.write(f"rank {self._rank} on {socket.gethostname()}, after {self._boundaries} boundaries\n\n")
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
        trace = flight_record()
        if trace:
            (self._folder / f"{name}.pickle").write_bytes(trace)

    def _entries(self, since: float) -> dict[int, dict[str, Any]]:
        """Return the entries of the ranks that report this hang, by rank."""
        keys = {rank: f"silent/{rank}" for rank in range(self._world)}
        found = {rank: json.loads(self._store.get(key)) for rank, key in keys.items() if self._store.check([key])}
        return {rank: entry for rank, entry in found.items() if entry["at"] >= since}

    def _host(self, rank: int) -> str:
        key = f"host/{rank}"
        return self._store.get(key).decode() if self._store.check([key]) else "?"


def watch(folder: Path, timeout: float) -> contextlib.AbstractContextManager[Watchdog | None]:
    """Return a watchdog of this rank; None if it is the only rank."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return contextlib.nullcontext()
    store = dist.PrefixStore(f"watchdog/{next(_uses)}", _get_default_store().clone())
    return Watchdog(folder, timeout, store, dist.get_rank(), dist.get_world_size())


def describe(hosts: list[str], entries: dict[int, dict[str, Any]]) -> str:
    """Name the ranks that do not answer, or else those that run other code than most."""
    silent = [rank for rank in range(len(hosts)) if rank not in entries]
    if silent:
        return f"{_named(silent, hosts)} does not answer"
    places: dict[str, list[int]] = {}
    for rank, entry in entries.items():
        places.setdefault(entry["where"], []).append(rank)
    (common, most), *others = sorted(places.items(), key=lambda place: -len(place[1]))
    if not others:
        return f"all ranks wait in {common}"
    apart = ", ".join(f"{_named(ranks, hosts)} is in {where}" for where, ranks in others)
    return f"{apart}, and {len(most)} other rank(s) in {common}"


def location(frame: FrameType | None) -> str:
    """Return file, line and function of this program that a frame is in, or came from."""
    while frame is not None:
        _, found, path = frame.f_code.co_filename.rpartition("/job/")
        if found:
            return f"job/{path}:{frame.f_lineno} ({frame.f_code.co_name})"
        frame = frame.f_back
    return "no code of this program"


def flight_record() -> bytes:
    """Return the contents of PyTorch's flight recorder, pickled; empty without one."""
    module = torch._C._distributed_c10d
    dump: Callable[[], bytes] | None = getattr(module, "_dump_fr_trace", None) or getattr(
        module, "_dump_nccl_trace", None
    )
    try:
        return dump() if dump is not None else b""
    except RuntimeError:
        return b""


def _named(ranks: list[int], hosts: list[str], most: int = 4) -> str:
    more = f" and {len(ranks) - most} more" if len(ranks) > most else ""
    return ", ".join(f"rank {rank} on {hosts[rank]}" for rank in ranks[:most]) + more


def _arm(seconds: float) -> None:
    with contextlib.suppress(AttributeError, OSError, RuntimeError, ValueError):  # stderr is no file
        faulthandler.dump_traceback_later(seconds, file=sys.stderr)


def _disarm() -> None:
    faulthandler.cancel_dump_traceback_later()
