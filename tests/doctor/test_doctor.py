"""Checks of the doctor, and its table. Between nodes: tests/slurm/test_doctor.py."""

import subprocess
import threading
from itertools import combinations
from types import SimpleNamespace

import pytest
from torch.distributed import TCPStore

from job.doctor import limits, machine, storage
from job.doctor.command import doctor
from job.doctor.environment import environment
from job.doctor.findings import FAIL, OK, WARN, Finding, below, differing, table, worst
from job.doctor.network import clock, clock_offset, rounds
from job.doctor.nodes import Nodes, find_nodes
from job.system.errors import JobError

ALONE = Nodes(["here"], 0, 0)


def test_a_single_machine_passes_all_checks(small):
    text, code = doctor(small(), ALONE)
    assert code == 0
    for check in ("versions", "GPUs", "CPUs", "open files", "shared memory", "disk", "W&B", "shards"):
        assert f" {check} " in text
    assert "fail" not in text


def test_missing_shards_fail_with_advice(small):
    text, code = doctor(small(data={"shards": "/nowhere"}), ALONE)
    assert code == 2
    assert "fail  shards           no shards at /nowhere: write them" in text
    assert "-> write them (docs/data.md), mount them on every node, or correct data.shards" in text


def test_without_a_configuration_missing_shards_do_not_fail_the_machine(job, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text, errors = job("doctor")
    assert "warn  shards           none at shards/faces: not checked" in text, errors
    assert "-> write them (docs/data.md), and give --config to check the shards of a run" in text
    assert code == 0
    assert "fail" not in text
    assert job("doctor", "--preflight")[:2] == (0, "\n")
    code, text, _ = job("doctor", "data.shards=/nowhere")
    assert "fail  shards           no shards at /nowhere: write them" in text
    assert code == 2


def test_little_disk_space_warns_or_fails(small, monkeypatch):
    sizes = {0.5: FAIL, 5: WARN, 50: OK}
    for free, level in sizes.items():
        monkeypatch.setattr(storage.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free * storage.GIB))
        assert storage.disk(small()).level == level


def test_small_shared_memory_and_few_open_files_warn(monkeypatch):
    monkeypatch.setattr(limits.shutil, "disk_usage", lambda _: SimpleNamespace(total=64 * 2**20))
    assert limits.shared_memory().level == WARN
    monkeypatch.setattr(limits.resource, "getrlimit", lambda _: (1024, 65536))
    assert limits.open_files(512).level == OK  # every process raises its soft limit to the hard one
    monkeypatch.setattr(limits.resource, "getrlimit", lambda _: (1024, 1024))
    assert limits.open_files(8).level == WARN
    assert limits.open_files(512).level == FAIL
    assert "512 rank(s) need " in limits.open_files(512).result
    assert limits.processes().level == WARN
    assert limits.file_size().level == FAIL


def test_shared_memory_that_is_absent_read_only_or_full_is_reported(tmp_path):
    """With real mounts if this process may mount; otherwise only the absent case."""
    absent = limits.shared_memory(str(tmp_path / "nowhere"))
    assert absent.level == WARN
    assert absent.result == f"no {tmp_path}/nowhere"
    for options, fault in (("size=4k", "No space left on device"), ("size=4k,ro", "Read-only file system")):
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", tmp_path], capture_output=True)
        if mounted.returncode:
            pytest.skip("needs the right to mount")
        try:
            found = limits.shared_memory(str(tmp_path))
        finally:
            subprocess.run(["umount", tmp_path], check=True)
        assert (found.level, found.result) == (FAIL, f"cannot write to {tmp_path}: {fault}")
    assert list(tmp_path.iterdir()) == []


def test_variables_of_other_programs_are_reported():
    assert environment({"HOME": "/root"}).level == OK
    assert environment({"RANK": "0", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}).level == WARN
    assert environment({"ACCELERATE_USE_FSDP": "true"}).level == FAIL
    assert environment({"WORLD_SIZE": "2"}).level == FAIL
    assert environment({"PMI_SIZE": "2", "PMI_RANK": "1", "SLURM_STEP_ID": "0"}).level == OK


def test_wandb_online_without_a_network_warns(small, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_MODE", "online")
    finding = machine.wandb(small())
    assert finding.level == WARN
    assert "set WANDB_MODE=offline" in finding.advice
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert machine.wandb(small()).level == OK


def test_a_driver_that_torch_cannot_use_fails(monkeypatch):
    monkeypatch.setattr(machine.torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(machine, "_nvidia_smi", lambda what: ["470.82.01", "470.82.01"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert machine.gpus().level == FAIL
    assert "can use none of the 2 with driver 470.82.01" in machine.gpus().result
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.gpus().level == WARN


@pytest.mark.parametrize(("offset", "level"), [(0.0, OK), (-0.4, OK), (3.0, WARN), (-3.0, WARN), (600.0, FAIL)])
def test_levels_of_clock_offsets(offset, level):
    assert clock(offset).level == level


def test_clock_offset_measures_the_difference(monkeypatch):
    """Two ranks in threads; the second one's clock is far ahead."""
    import job.doctor.network as network

    real = network.time.time
    second = threading.local()
    monkeypatch.setattr(network.time, "time", lambda: real() + getattr(second, "ahead", 0))
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    client = TCPStore("127.0.0.1", store.port, is_master=False, wait_for_workers=False)
    offsets = []

    def other():
        second.ahead = 2000.0
        offsets.append(clock_offset(client, 1, 2))

    thread = threading.Thread(target=other)
    thread.start()
    assert clock_offset(store, 0, 2) == 0
    thread.join()
    assert offsets[0] == pytest.approx(2000, abs=100)


@pytest.mark.parametrize("world", [2, 3, 4, 7, 8])
def test_rounds_have_every_pair_once_and_no_node_twice(world):
    pairs = []
    for round_ in rounds(world):
        busy = [rank for pair in round_ for rank in pair]
        assert len(set(busy)) == len(busy)
        pairs += round_
    assert sorted(pairs) == list(combinations(range(world), 2))


def test_the_table_names_the_nodes_that_differ():
    findings = [Finding("CPUs", OK, "8", where=host) for host in ("a", "b", "c")]
    findings += [below("disk", value, 10, 1, f"{value} GiB", "free some") for value in (20,)]
    findings += differing("versions", {"a": "1.0", "b": "1.1", "c": "1.0"}, "install the same")
    text = table(findings, hosts=3)
    assert "ok    CPUs             all: 8" in text
    assert "fail  versions         b: 1.1, but 1.0 on a\n" + " " * 23 + "-> install the same" in text
    assert worst(findings) == FAIL


def test_nodes_come_from_the_environment_of_srun():
    assert find_nodes({}).count == 1
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "2", "SLURM_JOB_ID": "7", "SLURM_PROCID": "1"}
    assert find_nodes(step | {"JOB_HOSTS": "a b"}) == Nodes(["a", "b"], 1, 20007)
    with pytest.raises(JobError, match="4 tasks on 2 nodes: start the doctor with srun --ntasks-per-node=1"):
        find_nodes(step | {"SLURM_STEP_NUM_TASKS": "4"})
