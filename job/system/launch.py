"""Start the ranks of a node: ``python -m job.system.launch --preload MODULE -m MODULE ARGUMENTS``.

With several ranks, this process imports what they need and then forks them. Eight ranks import as many files as one,
start after the same time and share the memory of the libraries. It says in one line which rank has failed; the others
are asked to end, and killed if they do not.

The environment says which ranks, as launch/node.sh sets it: WORLD_SIZE, of which LOCAL_WORLD_SIZE on this node, the
number GROUP_RANK; MASTER_ADDR and MASTER_PORT, 0 for a free one. Without WORLD_SIZE a single rank is started.
"""

import argparse
import contextlib
import ctypes
import importlib
import os
import runpy
import signal
import socket
import sys
import time
import warnings
from collections.abc import Iterator

from job.system.errors import EXIT_CRASH, EXIT_OK, first_line
from job.system.garbage_pause import imports_without_collection
from job.system.launch_protocol import STATUS_FILE, report_exit
from job.system.open_files import raise_limit

GRACE = 30.0  # seconds between SIGTERM and SIGKILL for the other ranks of one that has failed
LOCAL = "127.0.0.1"
# As `accelerate launch` sets them: the configuration decides.
ACCELERATE = {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "no"}
MEMORY_ADVICE = "out of memory? {}, or set data.decoded_gib=0"
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15  # of prctl(2)


def main() -> int:
    """Start the ranks and wait for them; return 0, or 1 when one has failed. In a rank, run the module."""
    parser = argparse.ArgumentParser(prog="python -m job.system.launch", description=__doc__.splitlines()[0])
    parser.add_argument("--preload", help="module to import before the fork, if there are several ranks")
    parser.add_argument("-m", dest="module", required=True, help="module that each rank runs")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    options = parser.parse_args()
    # On SIGTERM the ranks save and end, and this process waits for them. Not SIG_IGN, which ranks would inherit.
    signal.signal(signal.SIGTERM, lambda *_: None)
    world, local = (int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    os.environ.update(ACCELERATE)
    raise_limit()  # before any import counts its files
    if local > 1 and options.preload:
        with contextlib.suppress(ImportError), imports_without_collection():  # each rank says what is missing
            importlib.import_module(options.preload)
    first = int(os.environ.get("GROUP_RANK", 0)) * local
    try:
        with _port() if world > 1 else contextlib.nullcontext():
            ranks: dict[int, int] = {}
            for rank in range(first, first + local):
                if (pid := _fork()) == 0:
                    return _become(rank, rank - first if world > 1 else None, options.module, options.arguments)
                ranks[pid] = rank
            failed = _wait(ranks)
    except OSError as error:
        return _say(f"{socket.gethostname()} cannot start its ranks: {first_line(error)}")
    return _failed(*failed) if failed else EXIT_OK


@contextlib.contextmanager
def _port() -> Iterator[None]:
    """Set MASTER_PORT to a free one if it is 0, and keep it from other programs until the ranks have ended."""
    if os.environ["MASTER_PORT"] != "0":
        yield
        return
    with reserve_port() as reserved:
        os.environ["MASTER_PORT"] = str(reserved.getsockname()[1])
        yield


def reserve_port() -> socket.socket:
    """Return a socket that keeps a free port of this machine from other programs while it is open.

    It is bound and does not listen: the first rank can still listen on the port, with SO_REUSEADDR as torch does.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((LOCAL, 0))
    return reserved


def _fork() -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Python 3.12 warns of the threads of OpenBLAS, which ends them before a fork and starts them after it
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _become(rank: int, local_rank: int | None, module: str, arguments: list[str]) -> int:
    """Run the module in this process, as rank `rank`, or without any number if it is alone. Return its exit code."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        # The name in ps and top, without a blank: Slurm's linuxproc could not read the process's parent and kill it.
        prctl(_PR_SET_NAME, f"job-rank-{rank}".encode(), 0, 0, 0)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # end with a launcher that is killed: a crash, not a stop
    if local_rank is not None:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(local_rank))
    sys.argv[1:] = arguments
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        return end.code or EXIT_OK
    return EXIT_OK


def _wait(ranks: dict[int, int]) -> tuple[int, int] | None:
    """Wait for all processes; return number and exit code, negative for a signal, of the rank that failed first."""
    failed, kill_at = None, float("inf")
    while ranks:
        pid, status = os.waitpid(-1, os.WNOHANG if failed else 0)
        if pid == 0:
            if time.monotonic() > kill_at:
                _signal(ranks, signal.SIGKILL)
                kill_at = float("inf")
            time.sleep(0.05)
            continue
        rank, code = ranks.pop(pid, None), os.waitstatus_to_exitcode(status)
        if rank is not None and code and failed is None:
            failed, kill_at = (rank, code), time.monotonic() + GRACE
            _signal(ranks, signal.SIGTERM)
    return failed


def _signal(ranks: dict[int, int], number: signal.Signals) -> None:
    for pid in ranks:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _failed(rank: int, exit_code: int) -> int:
    if exit_code >= 0 or -exit_code == signal.SIGTERM:  # the rank has said why, or node.sh has stopped it
        return EXIT_CRASH
    name = signal.Signals(-exit_code).name
    more = "request more (sbatch --mem=...)" if "SLURM_JOB_ID" in os.environ else "end other programs"
    advice = f": {MEMORY_ADVICE.format(more)}" if -exit_code == signal.SIGKILL else ""
    return _say(f"rank {rank} on {socket.gethostname()} was killed by {name}{advice}")


def _say(reason: str) -> int:
    """Report why the ranks failed. On one machine launch/node.sh prints it; in a job each node's log should have it."""
    if "SLURM_JOB_ID" in os.environ or STATUS_FILE not in os.environ:
        print(reason, file=sys.stderr, flush=True)
    report_exit(EXIT_CRASH, reason)
    return EXIT_CRASH


if __name__ == "__main__":
    sys.exit(main())
