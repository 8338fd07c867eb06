"""A job that cannot work ends before its first step, and its last line says why."""

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
TRAIN = "slurm/train.sbatch"
LISTEN = "import socket, time; s = socket.create_server(('', 23456)); print('listening', flush=True); time.sleep(600)"


def assert_ends_at_once(job, message: str) -> None:
    assert job.wait() == 2, job.output()
    last = job.output().splitlines()[-1]
    assert last.startswith("error: "), job.output()
    assert message in last
    assert job.restarts == 0, job.output()
    assert "  eta " not in job.output(), "a step was made"


def test_mistakes_that_are_found_before_anything_starts(cluster, on_slurm):
    _, path = on_slurm(name="wrong")
    batch = "data.global_batch_size=18"
    streams = cluster.submit("--nodes=2", "--cpus-per-task=2", TRAIN, path, "data.streams=3", batch, JOB_RANKS="1")
    ranks = cluster.submit("--cpus-per-task=2", TRAIN, path, JOB_RANKS="x")
    missing = cluster.submit("--cpus-per-task=2", TRAIN, "configs/missing.yaml")
    assert_ends_at_once(streams, "which 2 ranks cannot share equally")
    assert_ends_at_once(ranks, "(env var: 'JOB_RANKS'): 'x' is not")
    assert_ends_at_once(missing, "no configuration at configs/missing.yaml: choose one of")


def test_shards_that_the_second_node_cannot_read(cluster, on_slurm, faces):
    _, path = on_slurm(name="unreadable")
    cluster.node("node2", "run", "mount", "-t", "tmpfs", "tmpfs", faces)
    try:
        job = cluster.submit("--nodes=2", TRAIN, path, JOB_RANKS="1")
        assert_ends_at_once(job, f"{faces} contains no shards")
        assert job.output().splitlines()[-1].endswith("(rank 1 on node2)")
    finally:
        cluster.node("node2", "run", "umount", faces)


def test_a_port_that_is_taken(cluster, on_slurm):
    _, path = on_slurm(name="port")
    command = ["slurm/cluster/node", cluster.folder, "node1", "run", sys.executable, "-c", LISTEN]
    listener = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        listener.stdout.readline()
        job = cluster.submit("--nodes=2", TRAIN, path, JOB_RANKS="1", JOB_PORT="23456")
        assert_ends_at_once(job, "port 23456 is taken on node1: set JOB_PORT to a free one, or unset it")
    finally:
        listener.kill()
