"""The same run on other numbers of nodes and ranks."""

import json
import signal
import subprocess
import sys
import sysconfig

import pytest

from job.run_folder.checkpoint import read_checkpoint
from job.shards.writing.write_shards import write_shards
from job.train import train
from tests.support.running import assert_same_weights, rows, weights
from tests.support.slurm_cluster import signal_all
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
TRAIN = "slurm/train.sbatch"
STEPS = 60
LOSSES = ("train/class_loss", "train/domain_loss", "domain/confusion", "domain/reversed_gradient_norm")


@pytest.fixture(scope="module")
def one_rank(on_slurm):
    config, _ = on_slurm(name="1x1", train={"steps": STEPS})
    assert train(config) == 0
    return config


def keys(config) -> dict[int, set[str]]:
    """Sample keys of each step, both domains'. A step that was done again must have seen the same ones."""
    steps: dict[int, set[str]] = {}
    for path in (config.run_folder / "keys").glob("rank_*.jsonl"):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            steps.setdefault(row["step"], set()).update(row["source"], row["target"])
    return steps


def assert_same_training(config, other) -> None:
    assert keys(config) == keys(other)
    assert all(len(step) == 32 for step in keys(config).values())
    for one, two in zip(rows(config), rows(other), strict=True):
        for name in LOSSES:
            assert one[name] == pytest.approx(two[name], abs=1e-4), (one["trainer/step"], name)
    assert_same_weights(weights(config), weights(other), tolerance=1e-4)


@pytest.fixture
def staged(cluster):
    """A disk of each node for the software, a small environment to copy there, and a file where each process says what
    it imports."""
    disk, venv, imports = (cluster.scratch / name for name in ("node-disk", "environment", "imports"))
    disk.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    say = f"open({str(imports)!r}, 'a').write(getattr(sys.modules.get('job'), '__file__', '-') + '\\n')"
    (packages / "says_its_import.py").write_text(f"import atexit, sys\natexit.register(lambda: {say})\n")
    (packages / "says_its_import.pth").write_text("import says_its_import\n")  # Debian has a sitecustomize of its own
    nodes = ("node1", "node2")
    for node in nodes:
        cluster.node(node, "run", "mount", "-t", "tmpfs", "tmpfs", disk)
    yield {"JOB_STAGE": str(disk), "JOB_STAGE_VENV": str(venv)}, imports
    for node in nodes:
        eventually(lambda node=node: not cluster.node(node, "run", "ls", disk).stdout, f"removal from {node}")
        cluster.node(node, "run", "umount", "--lazy", disk)  # a process may still be about to end


def test_two_nodes_of_two_ranks_with_the_software_on_a_disk_of_each(cluster, on_slurm, one_rank, staged):
    config, path = on_slurm(name="2x2", train={"steps": STEPS})
    settings, imports = staged
    job = cluster.submit("--nodes=2", TRAIN, path, "name=2x2", JOB_RANKS="2", JOB_PREFLIGHT="true", **settings)
    assert job.wait() == 0, job.output()
    assert "on 4 rank(s)" in job.output()
    assert_same_training(config, one_rank)
    if sys.version_info >= (3, 11):  # older ones import from the repository
        code = f"{settings['JOB_STAGE']}/emotion-dann-{job.number}/code/job/__init__.py"
        assert imports.read_text().splitlines().count(code) >= 4


def test_begun_on_two_nodes_cancelled_and_finished_on_four_ranks_that_srun_starts(cluster, on_slurm, one_rank):
    """The second job uses the second way: a task for each rank, without a launcher of ours.

    The first job gets little of the shell's environment, so its steps would get as little if the script did not pass on
    what it has found for them.
    """
    config, path = on_slurm(name="reshaped", train={"steps": STEPS})
    little = "--export=PATH,SLURM_CONF,JOB_SITE,JOB_RANKS,TMPDIR"
    job = cluster.submit(little, "--nodes=2", TRAIN, path, "name=reshaped", JOB_RANKS="1")
    eventually(lambda: "on 2 rank(s)" in job.output(), job.output)
    ranks = [*cluster.ranks("node1"), *cluster.ranks("node2")]
    eventually(lambda: (config.run_folder / "checkpoints" / "latest").exists(), job.output)
    signal_all(ranks, signal.SIGSTOP)
    cluster.call("scancel", job.number)
    signal_all(ranks, signal.SIGCONT)
    job.wait()
    assert job.state == "CANCELLED"
    assert rows(config)[-1]["trainer/step"] < STEPS, "the job was over before it was cancelled"
    job = cluster.submit("--nodes=1", "--ntasks-per-node=4", "--cpus-per-task=1", TRAIN, path, "name=reshaped")
    assert job.wait() == 0, job.output()
    assert "resuming from step" in job.output()
    assert len(list((config.run_folder / "keys").glob("rank_*.jsonl"))) == 4
    assert_same_training(config, one_rank)


def test_begun_on_sixteen_ranks_stopped_and_finished_on_eight(cluster, on_slurm, tmp_path):
    """As one rank: the same samples in every step and, up to rounding, the same losses and weights."""
    write_shards(
        "faces",
        None,
        tmp_path / "faces",
        size=48,
        shards=16,
        workers=1,
        keep_target_labels=True,
        options={"train": 64, "val": 16, "test": 19},
        progress=False,
    )
    changes = {
        "data": {"shards": str(tmp_path / "faces"), "streams": 16},
        "train": {"steps": STEPS, "eval_every": STEPS},
    }
    alone, _ = on_slurm(name="alone", **changes)
    assert train(alone) == 0
    config, path = on_slurm(name="many", **changes)
    words = ("--nodes=2", "--cpus-per-task=4", TRAIN, path, "name=many")
    job = cluster.submit(*words, JOB_RANKS="8", JOB_MAX_RESTARTS="0")
    metrics = config.run_folder / "metrics.jsonl"
    eventually(lambda: metrics.exists() and len(rows(config)) >= 3, job.output)
    (config.run_folder / "stop").touch()
    assert job.wait() == 75, job.output()
    stopped = read_checkpoint(config.run_folder / "checkpoints" / "latest").step
    assert 3 <= stopped < STEPS
    print(job.output())
    job = cluster.submit(*words, JOB_RANKS="4")
    assert job.wait() == 0, job.output()
    assert "on 16 rank(s)" not in job.output()
    assert f"resuming from step {stopped} of {STEPS}" in job.output()
    assert_same_training(config, alone)
