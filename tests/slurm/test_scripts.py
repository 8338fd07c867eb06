"""The scripts themselves, and the smaller of them at work."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from job.config.load import build_config
from job.train import train
from tests.support.running import REPO, SMALL, merge
from tests.support.slurm_cluster import SCRIPTS
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
SHELL = [*REPO.glob("launch/*.sh"), *REPO.glob("slurm/*.sh"), *REPO.glob("slurm/*.sbatch"), *SCRIPTS.iterdir()]
SBATCH = sorted(REPO.glob("slurm/*.sbatch"))


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_bash_can_parse(path):
    subprocess.run(["bash", "-n", path], check=True)


def test_shellcheck_has_nothing_to_say():
    beside = Path(sys.executable).with_name("shellcheck")  # that of the requirements: a system's older one says more
    subprocess.run([beside if beside.exists() else "shellcheck", *SHELL], check=True, cwd=REPO)


@pytest.mark.parametrize("path", SBATCH, ids=lambda path: path.name)
def test_slurm_would_accept(cluster, path):
    done = cluster.call("sbatch", "--test-only", path, "configs/faces.yaml")
    assert "to start at" in done.stderr


def test_shards_are_written_and_a_checkpoint_is_evaluated_on_two_nodes(cluster, tmp_path):
    out = tmp_path / "shards"
    sizes = ("train=32", "val=16", "test=19")
    options = [word for size in sizes for word in ("--option", size)]
    job = cluster.submit(
        "slurm/shards.sbatch", "faces", "--out", out, "--size", "48", "--shards", "4", "--keep-target-labels", *options
    )
    assert job.wait() == 0, job.output()
    settings = {"output": str(tmp_path), "data": {"shards": str(out)}, "train": {"steps": 2}}
    config = build_config(merge(SMALL, settings), "test")
    assert train(config) == 0
    figures = tmp_path / "figures.json"
    checkpoint = config.run_folder / "checkpoints" / "best"
    job = cluster.submit(
        "--nodes=2", "slurm/evaluate.sbatch", "--checkpoint", checkpoint, "--out", figures, JOB_RANKS="1"
    )
    assert job.wait() == 0, job.output()
    summary = json.loads((config.run_folder / "summary.json").read_text())
    found = json.loads(figures.read_text())
    assert found["source"]["accuracy"] == pytest.approx(summary["test/source_accuracy"])
    assert found["target"]["accuracy"] == pytest.approx(summary["oracle/test_target_accuracy"])
    job = cluster.submit("--nodes=2", "slurm/evaluate.sbatch", "--checkpoint", tmp_path / "none", JOB_RANKS="1")
    assert job.wait() == 2
    assert job.output().splitlines()[-1].startswith(f"error: no checkpoint at {tmp_path}/none: give a folder such as")


def test_a_comparison_is_an_array_and_a_job_that_waits_for_it(cluster, on_slurm):
    config, path = on_slurm(name="compared", train={"steps": 2}, data={"record_keys": False})
    settings = {"OBJECTIVES": "source_only dann", "SEEDS": "3", "SBATCH_OUTPUT": f"{cluster.scratch}/%x-%j.out"}
    done = cluster.call("slurm/compare.sbatch", "--cpus-per-task=2", path, "optimizer.lr=0.002", **settings)
    assert "2 runs" in done.stdout
    result = config.run_folder.with_name("compared-comparison") / "comparison.json"
    eventually(result.exists, lambda: cluster.call("squeue").stdout, seconds=400)
    comparison = json.loads(result.read_text())
    assert {name: row["seeds"] for name, row in comparison["objectives"].items()} == {
        "source_only": [3],
        "dann": [3],
    }


def test_an_array_in_a_container_by_the_site_file(cluster, on_slurm):
    """The site file puts a command before what runs on the nodes; scontrol, outside of it, queues the task again."""
    config, path = on_slurm(name="contained-7", train={"steps": 5000, "eval_every": 5000})
    wrapper = cluster.scratch / "container"
    wrapper.write_text(
        f'#!/bin/bash\necho "$SLURM_PROCID: $1 $IN_CONTAINER" >>{cluster.scratch}/inside\n'
        f'PATH={only_python(cluster)} exec "$@"\n'
    )
    wrapper.chmod(0o755)
    site = cluster.scratch / "container.env"
    site.write_text(f'JOB_CONTAINER=("{wrapper}")\nJOB_SRUN_OPTIONS=(--export=ALL,IN_CONTAINER=1)\n')
    words = ("--nodes=2", "--array=7", "slurm/train.sbatch", path, "name=contained-%a")
    job = cluster.submit(*words, JOB_RANKS="1", JOB_SITE=str(site))
    eventually((config.run_folder / "checkpoints" / "latest").exists, job.output)
    (config.run_folder / "stop").touch()
    eventually(lambda: "queued again" in job.output(), job.output)
    eventually(lambda: job.restarts == 1, lambda: str(job.show()))
    cluster.call("scancel", job.number)
    assert {"0: python 1", "0: launch/node.sh 1", "1: launch/node.sh 1"} <= set(
        (cluster.scratch / "inside").read_text().splitlines()
    )


def only_python(cluster) -> str:
    """A PATH as in a container: the programs that node.sh needs, and no Slurm."""
    folder = cluster.scratch / "bin"
    folder.mkdir()
    for name in ("bash", "dirname", "env", "mkdir", "nproc", "rm", "setsid"):
        (folder / name).symlink_to(Path("/usr/bin") / name)
    return f"{folder}:{Path(cluster.environment['PATH'].partition(':')[0])}"


def test_the_remains_of_a_killed_up_are_removed(cluster, tmp_path):
    """SIGKILL when it has made namespaces and a daemon, and is about to start the next one."""
    fake = tmp_path / "slurmctld"
    fake.write_text("#!/bin/bash\nkill -KILL $PPID\n")
    fake.chmod(0o755)
    before = set(Path("/tmp").glob("slurm-cluster.*"))
    done = cluster.call(SCRIPTS / "up", check=False, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == -signal.SIGKILL
    (folder,) = (path for path in Path("/tmp").glob("slurm-cluster.*") if path not in before and left(path))
    assert len(left(folder)) >= 5  # the folder, three namespaces, munged
    several = cluster.call(SCRIPTS / "down", check=False)  # it could be somebody else's
    assert several.returncode == 2
    assert "name yours" in several.stderr
    cluster.call(SCRIPTS / "down", folder)
    assert left(folder) == []


def left(folder: Path) -> list[str]:
    """What there is of a cluster: its folder, namespaces and daemons."""
    found = [str(folder)] if folder.exists() else []
    found += [name for name in os.listdir("/run/netns") if name.startswith(f"slurm{folder.suffix[1:]}-")]
    daemons = subprocess.run(["pgrep", "-af", f"{folder}/"], capture_output=True, text=True).stdout.splitlines()
    return found + daemons


def test_an_array_searches_together_and_a_job_near_its_limit_is_requeued(cluster, on_slurm):
    """Two tasks, three trials, each once; USR1 to one task is passed on to its trial, which the other one resumes."""
    train = {"steps": 400, "eval_every": 400, "checkpoint_every": 400, "log_every": 5}
    config, path = on_slurm(name="searched", train=train, data={"record_keys": False})
    space = cluster.scratch / "space.yaml"
    space.write_text("optimizer.lr: {low: 0.001, high: 0.01, log: true}\n")
    words = (path, "--space", space, "--trials", "3", "--name", "searched", "--pruner", "none")
    job = cluster.submit("--array=0-1", "--cpus-per-task=2", "slurm/search.sbatch", *words)
    study = config.run_folder

    def states() -> list[str]:
        result = study / "search.json"
        return [trial["state"] for trial in json.loads(result.read_text())["trials"]] if result.exists() else []

    def logs() -> str:
        return "\n".join(log.read_text() for log in cluster.scratch.glob("*.out"))

    eventually(lambda: len(list(study.glob("trial-*/metrics.jsonl"))) >= 2, logs, seconds=300)
    cluster.call("scancel", "--signal=USR1", "--batch", f"{job.number}_0")
    eventually(lambda: "== stopped; queued again" in logs(), logs)
    eventually(lambda: states() == ["finished"] * 3, lambda: f"{states()} {logs()}", seconds=400)
    assert (study / "best.yaml").exists()
