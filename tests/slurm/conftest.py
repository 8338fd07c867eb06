"""One cluster of two nodes for all tests here, and configurations that train on it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from job.config.load import build_config
from tests.support.running import REPO, SMALL, merge
from tests.support.slurm_cluster import SCRIPTS, Cluster, what_is_missing

LOGS = REPO / "slurm" / "logs"


def logs_and_links() -> set[Path]:
    return {*LOGS.iterdir(), *REPO.glob("*.out")}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    missing = what_is_missing()
    if missing and "JOB_REQUIRE_SLURM" in os.environ:
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    scratch = tmp_path_factory.mktemp("slurm")
    before = logs_and_links()
    (scratch / "site.env").write_text('JOB_PREFLIGHT="${JOB_PREFLIGHT:-false}"\n')  # it costs a process on each node
    disk = scratch / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", disk], check=True)
    try:
        made = subprocess.run([SCRIPTS / "up", "--while", str(os.getpid())], capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        folder = Path(made.stdout.strip())
        try:
            yield Cluster(folder, scratch, disk)
        finally:
            subprocess.run([SCRIPTS / "down", folder], check=True)
    finally:
        subprocess.run(["umount", disk], check=True)
        for path in logs_and_links() - before:  # of jobs that ended after their test, and the packed software
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.fixture(scope="session")
def on_slurm(faces, cluster):
    """`on_slurm(name=..., train={"steps": 3})`: a configuration, written to a file that all nodes can read."""

    def make(**changes):
        runs = {"output": str(cluster.scratch / "runs"), "data": {"shards": str(faces), "record_keys": True}}
        config = build_config(merge(merge(SMALL, runs), changes), "test")
        path = cluster.scratch / f"{config.name}.yaml"
        path.write_text(config.to_yaml())
        return config, path

    return make
