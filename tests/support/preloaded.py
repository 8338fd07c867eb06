"""The job in new processes that need not import it: forks of one that has, which saves each five seconds.

tests/test_launch.py and tests/slurm start it as its users do.
"""

import contextlib
import importlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from job.system.garbage_pause import imports_without_collection
from job.system.launch import reserve_port

REPO = Path(__file__).parents[2]
MODULES = (
    *("job.train", "job.__main__", "torch._dynamo", "torch.nn.parallel.distributed"),
    *("sklearn.cluster", "sklearn.linear_model", "sklearn.neighbors", "scipy.optimize", "scipy.special"),
    "tests.support.running",
)
HOLD_AFTER = "TEST_HOLD_AFTER_STEP"  # in the environment of a run: it waits there to be killed
GRACE = 30.0  # seconds between SIGTERM and SIGKILL for the other ranks of one that failed, as torch's launcher has it


class Processes:
    """The ranks of a run, with what tests use of `subprocess.Popen`. All are in the process group `pid`."""

    def __init__(self, task: dict, environments: list[dict[str, str]]) -> None:
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._server = _server()
        pids = self._server.fork({**task, "environments": environments}, self._output.fileno())
        self._codes: dict[int, int | None] = dict.fromkeys(pids)
        self._failed_at: float | None = None
        self.pid = pids[0]

    @property
    def returncode(self) -> int | None:
        """None while one of them runs; then the first exit code that is not 0, or 0."""
        codes = list(self._codes.values())
        return None if None in codes else next(filter(None, codes), 0)

    def poll(self) -> int | None:
        self._codes |= {pid: self._server.code(pid) for pid, code in self._codes.items() if code is None}
        if self.returncode is None and any(self._codes.values()):  # as a launcher does
            now = time.monotonic()
            with contextlib.suppress(ProcessLookupError):  # they have ended meanwhile
                if self._failed_at is None:
                    os.killpg(self.pid, signal.SIGTERM)
                elif now > self._failed_at + GRACE:
                    os.killpg(self.pid, signal.SIGKILL)
            self._failed_at = self._failed_at or now
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (timeout or 3600)
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("job", timeout or 3600)
            time.sleep(0.02)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        self.wait(timeout)
        self._output.seek(0)
        return self._output.read(), None


def in_a_fork(*words: object, **environment: str) -> tuple[int, str]:
    """The exit code and all output of `python -m job WORDS`."""
    process = Processes({"argv": ["job", *map(str, words)]}, [os.environ | environment])
    output, _ = process.communicate(timeout=300)
    return process.returncode or 0, output


def call_on_ranks(function: Callable[..., None], *arguments: object, ranks: int = 2) -> None:
    """Call a function of a module with each rank and the arguments, which JSON can hold, in a process each."""
    task = {"call": [function.__module__, function.__name__], "arguments": arguments}
    processes = Processes(task, [{**os.environ, "RANK": str(rank)} for rank in range(ranks)])
    output, _ = processes.communicate(timeout=300)
    assert processes.returncode == 0, output


class Server:
    """The process that is forked, and the exit codes of its children."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.support.preloaded", str(theirs.fileno())]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.Popen(command, cwd=REPO, env=environment, pass_fds=[theirs.fileno()], start_new_session=True)
        theirs.close()
        self._connection, self._codes = ours, {}

    def fork(self, request: dict, output: int) -> list[int]:
        with tempfile.TemporaryFile() as file:  # a message is limited to 208 KB, less than the environments of 4 ranks
            file.write(json.dumps(request).encode())
            file.seek(0)
            socket.send_fds(self._connection, [b"fork"], [output, file.fileno()])
        while "forked" not in (message := self._receive()):
            pass
        return message["forked"]

    def code(self, pid: int) -> int | None:
        """The exit code of a child, negative for a signal; None while it runs."""
        while pid not in self._codes and select.select([self._connection], [], [], 0)[0]:
            self._receive()
        return self._codes.get(pid)

    def _receive(self) -> dict:
        content = self._connection.recv(1 << 16)
        assert content, "the process that tests fork has ended"
        message = json.loads(content)
        if "ended" in message:
            self._codes[message["ended"]] = message["code"]
        return message


_SERVERS: dict[int, Server] = {}  # by process: a test may fork


def _server() -> Server:
    if os.getpid() not in _SERVERS:
        _SERVERS[os.getpid()] = Server()
    return _SERVERS[os.getpid()]


_RESERVED: list[socket.socket] = []


def free_port() -> int:
    """Return a port that nobody else is given while this process runs, and that a rank can listen on."""
    _RESERVED.append(reserve_port())
    return _RESERVED[-1].getsockname()[1]


def serve(connection: socket.socket) -> None:
    """Fork a process for each request, until the connection is closed."""
    with imports_without_collection():
        for name in MODULES:
            importlib.import_module(name)
    children: set[int] = set()
    while True:
        if select.select([connection], [], [], 0.05 if children else None)[0]:
            content, files, _, _ = socket.recv_fds(connection, 16, 2)
            if not content:
                return
            with open(files[1], "rb") as file:
                request = json.load(file)
            pids: list[int] = []
            for environment in request["environments"]:
                pid = os.fork()
                if pid == 0:
                    connection.close()
                    become(request, environment, files[0])
                pids.append(pid)
                os.setpgid(pid, pids[0])  # which exists: nobody has waited for it yet
            os.close(files[0])
            children.update(pids)
            connection.send(json.dumps({"forked": pids}).encode())
        for pid in list(children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                children.remove(pid)
                connection.send(json.dumps({"ended": pid, "code": os.waitstatus_to_exitcode(status)}).encode())


def become(request: dict, environment: dict[str, str], output: int) -> None:
    """Run the command line in this process, and exit as `python -m job` would; or call a function with its rank."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(environment)
    random.seed()
    try:
        if "call" in request:
            module, name = request["call"]
            getattr(importlib.import_module(module), name)(int(os.environ["RANK"]), *request["arguments"])
            sys.exit(0)
        sys.argv[:] = request["argv"]
        if HOLD_AFTER in os.environ:
            hold_after(int(os.environ[HOLD_AFTER]))
        from job.__main__ import run

        sys.exit(run())
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def hold_after(step: int) -> None:
    """Let the main rank of a run wait to be killed once it has logged a step; nobody may be left to do it."""
    from job.run_folder.metrics_file import MetricsFile

    write = MetricsFile.write

    def write_and_wait(file: MetricsFile, metrics: dict) -> None:
        write(file, metrics)
        if metrics["trainer/step"] >= step:
            time.sleep(600)

    MetricsFile.write = write_and_wait


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
