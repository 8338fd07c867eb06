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

_SHARED_MEMORY = "/dev/shm"  # where Linux keeps semaphores


class Pool:
    """Worker processes, started on the first call with more than one task and reused for later calls.

    If processes cannot share semaphores (/dev/shm is absent, read-only or full), this process does the work, and one
    line on stderr says why.
    """

    def __init__(self, workers: int, preload: Sequence[str] = ()) -> None:
        """Set the number of workers; a fork server imports the modules `preload` once for all processes."""
        self.workers = workers
        self._preload = list(preload)
        self._executor: ProcessPoolExecutor | None = None
        self._end: Connection | None = None  # one message, which no process receives, ends all processes

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._executor is None:
            return
        if kind is not None and not issubclass(kind, Exception):  # interrupted: do not wait for running tasks
            self._end.send_bytes(b"end")
        self._executor.shutdown(cancel_futures=True)

    def run(self, work: Callable, tasks: Sequence[tuple]) -> Iterator[Any]:
        """Yield `work(*task)` of every task as they finish, in any order. Raises JobError when a process is killed."""
        if min(self.workers, len(tasks)) > 1 and self._executor is None:
            self._start()
        if min(self.workers, len(tasks)) <= 1 or self._executor is None:
            for task in tasks:
                yield work(*task)
                gc.collect(0)  # garbage of this task: the caller may have paused the collector
            return
        try:
            yield from self._results(work, tasks)
        except BrokenProcessPool:
            raise JobError(
                f"a worker was killed, perhaps for lack of memory: run the same command again with fewer than "
                f"--workers {self.workers}; finished shards are kept"
            ) from None

    def _start(self) -> None:
        """Create the executor. Without semaphores or pipes, print why and work in this process from now on."""
        try:
            context = _context(self._preload)
            end, self._end = context.Pipe(duplex=False)
            # now, not later: a fork server's resource tracker starts here, and unblocks interruptions afterwards
            self._executor = ProcessPoolExecutor(self.workers, context, _start_worker, (end,))
        except (OSError, ImportError, NotImplementedError) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            print(
                f"one process does all the work because {self.workers} cannot share semaphores ({why}): check that "
                f"{_SHARED_MEMORY} exists, is writable and not full",
                file=sys.stderr,
            )
            self.workers = 1

    def _results(self, work: Callable, tasks: Sequence[tuple]) -> Iterator[Any]:
        try:
            with _interruptions_blocked():
                futures = [self._executor.submit(work, *task) for task in tasks]
        except OSError as error:  # fork: no more processes, or no memory for one
            self._end.send_bytes(b"end")  # to the processes that have started: the executor does not know them yet
            raise JobError(
                f"cannot start {self.workers} processes ({error.strerror}): run the same command again with fewer "
                f"--workers, or raise the limit (ulimit -u)"
            ) from None
        for future in as_completed(futures):
            yield future.result()


def _context(preload: Sequence[str] = ()) -> multiprocessing.context.BaseContext:
    """Choose how processes start: as forks of this one, unless it has threads (torch, OpenCV), whose locks might hang.

    Then as forks of a fork server, a fresh process without threads that imports the modules `preload` once.
    """
    if _has_no_threads():
        return multiprocessing.get_context("fork")
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def _has_no_threads() -> bool:
    """Return whether this process certainly has only one thread, counting those of libraries."""
    with suppress(OSError):
        return len(os.listdir("/proc/self/task")) == 1
    return False


@contextmanager
def _interruptions_blocked() -> Iterator[None]:
    """Block Ctrl-C until the block ends, and permanently in processes that are started inside it.

    An interruption in the middle of a fork would be lost, or leave locks behind that are never released.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(end: Connection) -> None:
    import cv2

    cv2.setNumThreads(1)  # there is one process per core already
    gc.enable()  # a fork inherits the parent's setting
    gc.freeze()  # do not scan objects from before the work
    threading.Thread(target=_end_on_message, args=(end,), daemon=True).start()


def _end_on_message(end: Connection) -> None:
    """End at once on a message, or when the parent was killed and no task would ever come."""
    wait([end, multiprocessing.parent_process().sentinel])
    os._exit(EXIT_CRASH)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
