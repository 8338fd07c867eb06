"""The launcher of a node forks ranks that can do what a new process can, and reports how they end."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.running import REPO
from tests.support.waiting import eventually

RANK = """
import json, os, signal, socket, sys, threading, time
from pathlib import Path
here, rank = Path({here!r}), int(os.environ.get("RANK", "0"))
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
names += ("ACCELERATE_MIXED_PRECISION", "ACCELERATE_DYNAMO_BACKEND")
found = {{name: os.environ.get(name) for name in names}}
found["preloaded"] = "preloaded_by_the_test" in sys.modules
found["argv"], found["name"] = sys.argv[1:], Path("/proc/self/comm").read_text().strip()
found["term"] = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
found["threads"] = threading.active_count()
(here / f"{{rank}}.new").write_text(json.dumps(found))
(here / f"{{rank}}.new").rename(here / f"{{rank}}.json")
{body}
"""


class Node:
    """A launcher that runs `body` in each rank."""

    def __init__(self, folder: Path, body: str = "", ranks: int = 2, grace: float = 30, **environment: str) -> None:
        self.folder = folder
        (folder / "rank_of_the_test.py").write_text(RANK.format(here=str(folder), body=body))
        (folder / "preloaded_by_the_test.py").write_text("")
        own = {"PYTHONPATH": f"{folder}:{REPO}", "JOB_STATUS_FILE": str(folder / "status")}
        if ranks > 1:
            own |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "GROUP_RANK": "0"}
            own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
        program = f"import sys, job.system.launch as launch; launch.GRACE = {grace}; sys.exit(launch.main())"
        command = [sys.executable, "-uc", program, "--preload", "preloaded_by_the_test"]
        command += ["-m", "rank_of_the_test", "train", "--config", "x.yaml"]
        self.process = subprocess.Popen(
            command, env=os.environ | own | environment, cwd=folder, stderr=subprocess.PIPE, text=True
        )

    def rank(self, number: int) -> dict:
        return json.loads((self.folder / f"{number}.json").read_text())

    def end(self) -> tuple[int, str, str]:
        """Exit code, standard error, and what the launch script reads."""
        _, errors = self.process.communicate(timeout=300)
        status = self.folder / "status"
        return self.process.returncode, errors, status.read_text() if status.exists() else ""


def pids_of(launcher: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_each_rank_has_its_number_and_what_the_launcher_has_imported(tmp_path):
    node = Node(tmp_path, GROUP_RANK="1", WORLD_SIZE="4", MASTER_ADDR="head", MASTER_PORT="1234")
    assert node.end() == (0, "", "")
    for local, rank in enumerate((2, 3)):
        found = node.rank(rank)
        assert (found["RANK"], found["LOCAL_RANK"]) == (str(rank), str(local))
        assert (found["WORLD_SIZE"], found["LOCAL_WORLD_SIZE"]) == ("4", "2")
        assert (found["MASTER_ADDR"], found["MASTER_PORT"]) == ("head", "1234")
        assert found["ACCELERATE_MIXED_PRECISION"] == found["ACCELERATE_DYNAMO_BACKEND"] == "no"
        assert found["preloaded"]
        assert found["argv"] == ["train", "--config", "x.yaml"]
        assert found["name"] == f"job-rank-{rank}"
        assert found["term"], "SIGTERM before the rank has a handler ends it"


def test_a_single_rank_has_no_number_and_imports_for_itself(tmp_path):
    node = Node(tmp_path, ranks=1)
    assert node.end() == (0, "", "")
    found = node.rank(0)
    assert [found[name] for name in ("RANK", "WORLD_SIZE", "MASTER_PORT")] == [None, None, None]
    assert not found["preloaded"]


def test_a_free_port_is_reserved_until_the_first_rank_listens(tmp_path):
    """Another program is not given it meanwhile, and two nodes of a machine have two."""
    wait = "while not (here / 'go').exists(): time.sleep(0.02)\n"
    listen = "if rank == 0: socket.create_server(('', int(found['MASTER_PORT'])), reuse_port=False)\n"
    nodes = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        nodes.append(Node(tmp_path / name, wait + listen))
    eventually(lambda: all((node.folder / f"{rank}.json").exists() for node in nodes for rank in (0, 1)), seconds=200)
    ports = [{node.rank(rank)["MASTER_PORT"] for rank in (0, 1)} for node in nodes]
    assert all(len(each) == 1 for each in ports)
    (one,), (other,) = ports
    assert len({"0", one, other}) == 3
    with socket.socket() as another, pytest.raises(OSError, match="in use"):
        another.bind(("127.0.0.1", int(one)))
    for node in nodes:
        (node.folder / "go").touch()
        assert node.end() == (0, "", "")


@pytest.mark.parametrize(
    ("end", "says"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "rank 1 on HOST was killed by SIGKILL: out of memory? end other pro"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "rank 1 on HOST was killed by SIGSEGV\n"),
        ("sys.exit(3)", ""),
        ("raise ValueError('the reason')", ""),
    ],
)
def test_a_rank_that_fails_is_named_and_the_others_are_asked_to_end(tmp_path, end, says):
    others = (
        "signal.signal(signal.SIGTERM, lambda *_: (here / 'asked').touch() or sys.exit(0))\n(here / 'up').touch()\n"
    )
    waits = "while not (here / 'up').exists(): time.sleep(0.02)\n"
    body = f"if rank == 1:\n {waits} {end}\n{others}time.sleep(600)\n"
    code, errors, status = Node(tmp_path, body).end()
    assert code == 1
    assert (tmp_path / "asked").exists()
    said = says.replace("HOST", socket.gethostname())
    assert status.startswith(f"1\n{said}" if said else "")
    assert "was killed" not in errors, "launch/node.sh prints it"
    assert ("ValueError: the reason" in errors) == ("ValueError" in end)
    assert errors.count("Traceback") == end.startswith("raise")


def test_in_a_job_the_log_of_the_node_says_it_and_how_to_request_memory(tmp_path):
    body = "if rank == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
    _, errors, status = Node(tmp_path, body, SLURM_JOB_ID="7").end()
    said = f"rank 1 on {socket.gethostname()} was killed by SIGKILL: out of memory? request more (sbatch --mem=...)"
    assert errors.startswith(said)
    assert status.startswith(f"1\n{said}")


def test_a_rank_that_does_not_end_is_killed(tmp_path):
    """One that waits for a rank that is gone cannot serve a signal."""
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n(here / f'up{rank}').touch()\n"
    body += "while not (here / 'up0').exists(): time.sleep(0.02)\nif rank == 1: sys.exit(1)\ntime.sleep(600)\n"
    assert Node(tmp_path, body, grace=0.2).end() == (1, "", "")


def test_sigterm_to_all_lets_ranks_end_by_themselves(tmp_path):
    body = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n(here / f'up{rank}').touch()\ntime.sleep(600)\n"
    node = Node(tmp_path, body)
    eventually(lambda: (tmp_path / "up0").exists() and (tmp_path / "up1").exists(), seconds=200)
    for pid in (node.process.pid, *pids_of(node.process.pid)):
        os.kill(pid, signal.SIGTERM)
    assert node.end() == (0, "", "")


def test_ranks_of_a_launcher_that_is_killed_end_too(tmp_path):
    """Otherwise they would hold the run folder, the port and the GPUs, with nobody to report how they end."""
    node = Node(tmp_path, "(here / f'up{rank}').touch()\ntime.sleep(600)\n")
    eventually(lambda: (tmp_path / "up0").exists() and (tmp_path / "up1").exists(), seconds=200)
    ranks = pids_of(node.process.pid)
    assert len(ranks) == 2
    node.process.kill()
    node.process.wait()
    eventually(lambda: not any(is_running(pid) for pid in ranks), seconds=200)


@pytest.mark.slow
def test_what_is_imported_before_the_fork_starts_no_thread_and_no_gpu():
    """A rank could use neither after the fork."""
    code = (
        "import os, job.commands.preload, torch; print(len(os.listdir('/proc/self/task')));"
        "pid = os.fork(); print('bad fork', torch.cuda._is_in_bad_fork(), flush=True) if pid == 0 else os.wait()"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-uc", code], cwd=REPO, env=environment, capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"1\nbad fork False\n", done.stdout)
