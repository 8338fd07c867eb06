"""launch/local.sh as a user calls it: exit codes, one line for a mistake, a stop on a signal, the number of ranks."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

from job.shards.manifest import load_manifest
from job.shards.reading.domain_stream import DomainStream
from job.shards.reading.shard_cache import ShardStore
from tests.support.manifests import accept_changes
from tests.support.running import REPO, assert_same_weights, finish, start, weights
from tests.support.waiting import while_running

pytestmark = pytest.mark.slow


def local(config, tmp_path, *overrides, ranks=1, **options) -> subprocess.Popen:
    path = tmp_path / f"{config.name}.yaml"
    path.write_text(config.to_yaml())
    environment = os.environ | {"JOB_RANKS": str(ranks), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment |= options.pop("env", {})
    return subprocess.Popen(
        ["launch/local.sh", path, *overrides],
        cwd=REPO,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_two_ranks_stop_on_a_signal_with_75_and_resume_to_0(small, tmp_path):
    train = {"steps": 30, "eval_every": 15, "checkpoint_every": 10, "log_every": 5}
    whole, config = small(name="whole", train=train), small(name="stopped", train=train)
    finish(start(whole, tmp_path, ranks=2))
    held = {"PYTHONPATH": str(REPO / "tests" / "support" / "held"), "TEST_GO_ON": str(tmp_path / "go-on")}
    process = local(config, tmp_path, ranks=2, env=held)
    wait_for_a_row(process, config)
    for pid in [process.pid, *ranks_of(config, tmp_path)]:  # as Slurm does, launcher included
        os.kill(pid, signal.SIGTERM)
    (tmp_path / "go-on").touch()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 75, errors
    assert "Traceback" not in errors
    assert len([line for line in errors.splitlines() if " step " not in line]) <= 6, errors
    assert json.loads((config.run_folder / "status.json").read_text())["status"] == "stopped"
    assert not (config.run_folder / "stop").exists()
    (alert,) = map(json.loads, (config.run_folder / "alerts.jsonl").read_text().splitlines())
    assert alert["text"].startswith("SIGTERM; "), "whoever reads it wants to know why"
    process = local(config, tmp_path, ranks=2)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert_same_weights(weights(config), weights(whole))


def wait_for_a_row(process: subprocess.Popen, config) -> None:
    path = config.run_folder / "metrics.jsonl"
    while_running(process, lambda: path.exists() and "\n" in path.read_text(), 300)


@pytest.mark.parametrize(
    ("override", "ranks", "says"),
    [
        ("data.stream=4", 1, "unknown key data.stream: did you mean data.streams?"),
        ("data.shards=/nowhere", 1, "no shards at /nowhere: write them"),
        ("data.global_batch_size=18", 1, "set data.global_batch_size to 16 or 20"),
        ("seed=1", 8, "data.streams is 4 but there are 8 ranks"),
        ("seed=1", 3, "which 3 ranks cannot share equally"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(small, tmp_path, override, ranks, says):
    process = local(small(name="wrong"), tmp_path, override, ranks=ranks)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2, errors
    assert says in errors
    assert len(errors.strip().splitlines()) == 1
    assert errors.startswith("error: ")


def test_a_second_interruption_ends_at_once_and_says_so(small, tmp_path):
    config = small(name="twice", train={"steps": 100_000, "eval_every": 100_000, "checkpoint_every": 100_000})
    process = local(config, tmp_path)
    wait_for_a_row(process, config)
    for rank in Path("/proc").glob("[0-9]*"):  # it cannot serve the first one any more
        with contextlib.suppress(OSError):
            if (
                str(tmp_path / "twice.yaml").encode() in (rank / "cmdline").read_bytes()
                and int(rank.name) != process.pid
            ):
                os.kill(int(rank.name), signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    while_running(process, (config.run_folder / "stop").exists, 300)  # bash merges two signals that wait for it
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "ended at once: the same command resumes from the last checkpoint"
    assert "Killed" not in errors


def test_in_another_folder_it_says_where_to_start_it(tmp_path):
    done = subprocess.run(
        [REPO / "launch" / "local.sh", "configs/faces.yaml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path} is not the repository: cd {REPO} and start it there\n"


@pytest.mark.parametrize("ranks", ["x", "0", "1.5"])
def test_an_invalid_number_of_ranks(small, tmp_path, ranks):
    process = local(small(name="wrong"), tmp_path, ranks=ranks)
    errors = process.communicate(timeout=300)[1]
    assert process.returncode == 2
    assert errors.startswith("error: Invalid value for '--ranks' (env var: 'JOB_RANKS'): ")
    assert errors.count("\n") == 1

    environment = os.environ | {"JOB_RANKS": ranks, "JOB_HOSTS": "localhost"}
    node = subprocess.run(["launch/node.sh", "evaluate"], env=environment, cwd=REPO, capture_output=True, text=True)
    assert (node.returncode, node.stderr) == (2, f"error: JOB_RANKS={ranks} is not a number of ranks\n")


def test_bad_input_found_by_one_rank_only_is_the_last_line(small, faces, tmp_path):
    """The damaged image is in a shard that the second rank reads."""
    broken = shutil.copytree(faces, tmp_path / "broken")
    config = small(name="one-rank", data={"shards": str(broken)})
    second = DomainStream(
        load_manifest(broken),
        "source",
        ShardStore(broken),
        labelled=True,
        seed=config.seed,
        streams=4,
        global_batch_size=16,
        block_shards=4,
        rank=1,
        world_size=2,
    )
    (key, *_) = second.keys(3)
    (path,) = [path for path in broken.rglob("source/train/*.tar") if key.encode() in path.read_bytes()]
    with tarfile.open(path) as tar:
        at = tar.getmember(f"{key}.jpg").offset_data
    content = bytearray(path.read_bytes())
    content[at : at + 300] = bytes(300)
    path.write_bytes(content)
    accept_changes(broken)
    process = local(config, tmp_path, ranks=2)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2, errors
    assert errors.splitlines()[-1].startswith("error: shard ")
    assert key in errors.splitlines()[-1]


def test_fewer_ranks_than_requested_is_an_error(small, tmp_path):
    """`accelerate launch --cpu --num_processes 2` starts one process, silently (docs/pitfalls.md)."""
    path = tmp_path / "c.yaml"
    path.write_text(small(name="fewer").to_yaml())
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes=2", "-m", "job", "train"]
    environment = os.environ | {"JOB_EXPECTED_RANKS": "2"}
    done = subprocess.run([*command, "--config", path], cwd=REPO, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "error: 2 ranks were requested and 1 started" in done.stderr


def test_the_settings_for_starting_cpu_ranks_by_hand(small, tmp_path):
    config = small(name="by-hand", train={"steps": 2})
    path = tmp_path / "c.yaml"
    path.write_text(config.to_yaml())
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "launch/accelerate/cpus.yaml"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true"}
    subprocess.run([*command, "-m", "job", "train", "--config", path], cwd=REPO, env=environment, check=True)
    assert "on 2 rank(s)" in (config.run_folder / "log.txt").read_text()


@pytest.mark.parametrize("name", ["gpus", "cpus", "nodes"])
def test_accelerate_reads_the_settings(name):
    settings = load_config_from_file(str(REPO / "launch" / "accelerate" / f"{name}.yaml"))
    assert settings.distributed_type == "MULTI_GPU"
    assert settings.num_processes == 2


def test_one_killed_rank_of_two_is_named_in_the_last_line(small, tmp_path):
    """Variables of other launchers in the environment are ignored."""
    config = small(name="killed", train={"steps": 100_000, "log_every": 50, "eval_every": 100_000})
    stale = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "7", "MASTER_ADDR": "gone", "MASTER_PORT": "1"}
    stale |= {"PET_NNODES": "3", "PET_NODE_RANK": "2", "PET_RDZV_ENDPOINT": "gone:1"}
    process = local(config, tmp_path, ranks=2, env=stale | {"OMP_NUM_THREADS": "1,2"})
    wait_for_a_row(process, config)
    (pid,) = ranks_of(config, tmp_path, b"1")
    os.kill(pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    assert errors.splitlines()[-1].startswith("error: crashed: rank 1 on ")
    assert " was killed by SIGKILL: out of memory? end other programs, or set " in errors.splitlines()[-1]
    assert errors.count("was killed by") == 1
    assert " crashed: rank 1 on " in (config.run_folder / "restarts.log").read_text()
    assert len([line for line in errors.splitlines() if " step " not in line]) <= 6, errors
    assert "Traceback" not in errors


def ranks_of(config, tmp_path, rank: bytes = b"") -> list[int]:
    """Process ids of the ranks of a run, or of one rank."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            own = str(tmp_path / f"{config.name}.yaml").encode() in (process / "cmdline").read_bytes()
            if own and re.fullmatch(rb"job-rank-%s\d*\n" % rank, (process / "comm").read_bytes()):
                found.append(int(process.name))
    return found


@pytest.mark.parametrize("threads", ["many", "0", "-1", "4;2"])
def test_an_invalid_number_of_threads(threads):
    environment = os.environ | {"JOB_RANKS": "1", "JOB_HOSTS": "localhost", "OMP_NUM_THREADS": threads}
    node = subprocess.run(["launch/node.sh", "evaluate"], env=environment, cwd=REPO, capture_output=True, text=True)
    assert (node.returncode, node.stderr) == (2, f"error: OMP_NUM_THREADS={threads} is not a number of threads\n")
