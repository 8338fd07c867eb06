"""slurm/stage.sh: the virtual environment and the code as one file each, used from another place."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.support.running import REPO

needs_squashfs = pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="needs squashfs-tools")
STAGE = REPO / "slurm" / "stage.sh"


@pytest.fixture
def venv(tmp_path):
    path = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
    return path


def stage(*words, venv, archive="tar") -> subprocess.CompletedProcess:
    environment = os.environ | {"JOB_STAGE_VENV": str(venv), "JOB_STAGE_FORMAT": archive}
    return subprocess.run(["bash", STAGE, *words], cwd=REPO, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("archive", ["tar", pytest.param("squashfs", marks=needs_squashfs)])
def test_python_and_the_code_come_from_the_disk_of_the_node(venv, tmp_path, archive):
    packed, node = tmp_path / "packed", tmp_path / "node"
    assert stage("pack", packed, venv=venv, archive=archive).returncode == 0
    first = (packed / f"venv.{archive}").stat().st_mtime_ns
    assert stage("pack", packed, venv=venv, archive=archive).returncode == 0
    assert (packed / f"venv.{archive}").stat().st_mtime_ns == first  # nothing was installed
    assert stage("unpack", packed, node, venv=venv, archive=archive).returncode == 0
    show = "import sys, job; print(sys.prefix); print(job.__file__)"
    script = f'source {STAGE} use {node}; python -c "{show}"; echo $JOB_REPOSITORY'
    done = subprocess.run(["bash", "-c", script], cwd=REPO, capture_output=True, text=True, check=True)
    prefix, code, repository = done.stdout.split()
    assert prefix == str(node / "venv")
    if sys.version_info >= (3, 11):
        assert code == str(node / "code" / "job" / "__init__.py")
    assert repository == str(REPO)
    assert stage("remove", node, venv=venv).returncode == 0
    assert not node.exists()


def test_mistakes_are_one_line(venv, tmp_path):
    absent = stage("pack", tmp_path / "packed", venv=tmp_path / "nowhere")
    assert absent.returncode == 2
    assert absent.stderr == f"error: no virtual environment at {tmp_path}/nowhere: set JOB_STAGE_VENV\n"
    wrong = stage("pakc", venv=venv)
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1
    wrong = stage("pack", tmp_path / "packed", venv=venv, archive="zip")
    assert (wrong.returncode, wrong.stderr) == (2, "error: JOB_STAGE_FORMAT=zip: tar or squashfs\n")
    (tmp_path / "file").touch()
    assert stage("remove", tmp_path, venv=venv).returncode == 0  # no staged software: it must not be deleted
    assert (tmp_path / "file").exists()
