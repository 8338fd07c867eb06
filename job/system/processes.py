"""Run tasks on several processes."""

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from job.system.errors import EXIT_CRASH, JobError

_SHARED_MEMORY = "/dev/shm"  # where Linux keeps the semaphores of processes


class Pool:
    """Processes that are started when there is work for more than one, and kept for the next kind of work.

    Where the system allows no more processes, or no semaphores between them (/dev/shm is absent, read-only or full),
    the work is done in this process, and one line on stderr says why.
    """

    def __init__(self, workers: int, preload: Sequence[str] = ()) -> None:
        """`preload` names the modules that the work needs, for a fork server to import once for all processes."""
        self.workers = workers
        self._preload = list(preload)
        self._executor: ProcessPoolExecutor | None = None
        self._end: Connection | None = None  # one word into it, which nobody takes out, ends all processes

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._executor is None:
            return
        if kind is not None and not issubclass(kind, Exception):  # interrupted: what they are at is not waited for
            self._end.send_bytes(b"end")
        self._executor.shutdown(cancel_futures=True)

    def run(self, work: Callable, tasks: Sequence[tuple]) -> Iterator[Any]:
        """Yield `work(*task)` of every task as they finish, in any order. Raises JobError when a process is killed."""
        if min(self.workers, len(tasks)) > 1 and self._executor is None:
            self._start()
        if min(self.workers, len(tasks)) <= 1 or self._executor is None:
            for task in tasks:
                yield work(*task)
                gc.collect(0)  # of this task: the caller may have told Python to look for none (no_collecting)
            return
        try:
            yield from self._results(work, tasks)
        except BrokenProcessPool:
            raise JobError(
                f"a worker was killed, for want of memory perhaps: run the same command again with fewer than "
                f"--workers {self.workers}; finished shards are kept"
            ) from None

    def _start(self) -> None:
        """Make the executor; without semaphores or pipes there is none, and work is done in this process from now."""
        try:
            context = _context(self._preload)
            end, self._end = context.Pipe(duplex=False)
            # not later: a fork server's resource tracker starts here, and lets interruptions through when it has
            self._executor = ProcessPoolExecutor(self.workers, context, _start_worker, (end,))
        except (OSError, ImportError, NotImplementedError) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            print(
                f"one process does all the work, for {self.workers} cannot share semaphores ({why}): see whether "
                f"{_SHARED_MEMORY} is there, writable and not full",
                file=sys.stderr,
            )
            self.workers = 1

    def _results(self, work: Callable, tasks: Sequence[tuple]) -> Iterator[Any]:
        try:
            with _interrupted_later():
                futures = [self._executor.submit(work, *task) for task in tasks]
        except OSError as error:  # fork: no more processes, or no memory for one
            self._end.send_bytes(b"end")  # to those that did start: the executor does not know of them yet
            raise JobError(
                f"cannot start {self.workers} processes ({error.strerror}): run the same command again with fewer "
                f"--workers, or raise the limit (ulimit -u)"
            ) from None
        for future in as_completed(futures):
            yield future.result()


def _context(preload: Sequence[str] = ()) -> multiprocessing.context.BaseContext:
    """How processes are started: as copies of this one, unless it has threads (torch, OpenCV): those might hang.

    Then as copies of a fork server, a fresh process without threads that imports what the work needs once for all.
    """
    if _has_no_threads():
        return multiprocessing.get_context("fork")
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def _has_no_threads() -> bool:
    """Whether the calling thread is certainly the only one of this process, those of libraries included."""
    with suppress(OSError):
        return len(os.listdir("/proc/self/task")) == 1
    return False


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Without Ctrl-C until this is over, for this thread and the processes that it starts, which never hear of one.

    In the middle of a fork it would be lost, or leave locks behind that nobody opens again.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(end: Connection) -> None:
    import cv2

    cv2.setNumThreads(1)  # one process a core already
    gc.enable()  # a copy has the settings of its origin
    gc.freeze()  # what was there before the work is no garbage, and need not be looked through
    threading.Thread(target=_end_when_told, args=(end,), daemon=True).start()


def _end_when_told(end: Connection) -> None:
    """End at once when told to, or when the parent was killed: work would be waited for without end."""
    wait([end, multiprocessing.parent_process().sentinel])
    os._exit(EXIT_CRASH)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
