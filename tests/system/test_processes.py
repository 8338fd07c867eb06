"""Pools fork where that is safe, and work the same where it is not."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from job.system import processes as pool
from job.system.errors import JobError
from job.system.processes import Pool
from tests.support.waiting import eventually

START = "; print(_context().get_start_method())"


def square(number: int) -> int:
    return number * number


def die() -> None:
    os._exit(9)


def says(program: str) -> str:
    command = [
        sys.executable,
        "-c",
        "from job.system.progress import follow; from job.system.processes import Pool, _context; " + program,
    ]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody says how many threads there are")
def test_only_a_process_without_threads_forks():
    assert says("list(follow([1], 1, int, 'doing'))" + START) == "fork", "a progress bar starts no thread"
    waiting = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
    assert says(waiting + START) == "forkserver"
    of_torch = "import torch; torch.set_num_threads(2); torch.ones(4000, 4000).sum()"
    assert says(of_torch + START) == "forkserver", "threads that Python does not know of"


def test_a_fork_collects_garbage_though_its_parent_does_not():
    assert says("import gc; gc.disable(); p = Pool(2); print({*p.run(gc.isenabled, [()] * 4)})") == "{True}"


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_every_start_method_runs_all_tasks(method, monkeypatch):
    monkeypatch.setattr(pool, "_context", lambda preload: multiprocessing.get_context(method))
    with Pool(2) as processes:
        assert sorted(processes.run(square, [(n,) for n in range(20)])) == [n * n for n in range(20)]


@pytest.mark.parametrize("seconds", np.linspace(0, 0.3, 7))
def test_an_interruption_ends_all_processes_at_once_and_is_reported_once(seconds):
    """Also while processes start, which takes about 0.05 s."""
    program = "with Pool(2) as p: print(flush=True); [*p.run(time.sleep, [(100,)] * 9)]"
    program = f"import time\nfrom job.system.processes import Pool\n{program}"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        parent.stdout.readline()
        time.sleep(seconds)
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.wait(120) == -signal.SIGINT
        assert parent.stderr.read().count("Traceback") == 1


@pytest.mark.parametrize("threads", ["", "import threading; threading.Timer(600, print).start(); "])
def test_workers_end_when_their_parent_is_killed(threads):
    """Forks inherit both ends of the pipe of their tasks, so they never see it closed."""
    program = "p = Pool(2); print(*p.run(os.getpid, [()] * 2), flush=True); time.sleep(600)"
    command = [sys.executable, "-c", f"import os, time; from job.system.processes import Pool; {threads}{program}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        workers = set(parent.stdout.readline().split())
        parent.kill()
    assert workers
    eventually(lambda: not any(is_at_work(pid) for pid in workers))


def is_at_work(pid: str) -> bool:
    """Return whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_worker_is_reported_in_one_line():
    with Pool(2) as processes, pytest.raises(JobError, match=r"a worker was killed.*fewer than --workers 2"):
        list(processes.run(die, [(), ()]))


SHARED_MEMORY = {
    "full": "mount -t tmpfs -o size=4k none /dev/shm && dd if=/dev/zero of=/dev/shm/x bs=4096 count=1 2>/dev/null",
    "read-only": "mount -t tmpfs -o ro none /dev/shm",
    "absent": "mount -t tmpfs none /dev",
}
WHY = {"full": "No space left on device", "read-only": "Read-only file system", "absent": "No such file or directory"}


@pytest.mark.parametrize("state", SHARED_MEMORY)
def test_without_shared_memory_one_process_does_the_work_and_reports_why(state):
    """Runs in a separate mount namespace, which needs root."""
    program = "import operator; p = Pool(2); print(sorted(p.run(operator.add, [(n, 1) for n in range(4)])))"
    program = f"from job.system.processes import Pool; {program}"
    command = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        f'{SHARED_MEMORY[state]} && exec "$0" -c "$1"',
        sys.executable,
        program,
    ]
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[1, 2, 3, 4]\n"
    assert done.stderr.count("\n") == 1
    assert f"one process does all the work because 2 cannot share semaphores ({WHY[state]})" in done.stderr
    assert "/dev/shm" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="processes are not forked elsewhere")
def test_a_failed_start_is_reported_in_one_line_and_the_others_end():
    program = """
import os
from job.system.errors import JobError
from job.system.processes import Pool
fork, forks = os.fork, []
def limited():
    forks.append(1)
    if len(forks) > 1:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()
os.fork = limited
try:
    with Pool(3) as pool:
        list(pool.run(os.getpid, [()] * 9))
except JobError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert done.stdout.startswith("cannot start 3 processes (Resource temporarily unavailable)"), done
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_a_fork_server_preloads_modules(monkeypatch):
    context = multiprocessing.get_context("forkserver")
    given = []
    monkeypatch.setattr(context, "set_forkserver_preload", given.append)
    monkeypatch.setattr(pool, "_has_no_threads", lambda: False)
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: context)
    Pool(2, ("job.shards.manifest",))._start()
    assert given == [["job.shards.manifest"]]
