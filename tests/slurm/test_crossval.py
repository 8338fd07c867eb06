"""`sbatch --array slurm/crossval.sbatch`: the tasks share the runs, and a job near its time limit is requeued."""

import json

import pytest

from tests.support.waiting import eventually

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def test_an_array_shares_the_folds_and_a_job_near_its_limit_is_requeued(cluster, on_slurm, folded):
    """Two tasks, three folds, each run once; USR1 to one task is passed on to its run, which resumes."""
    train = {"steps": 300, "eval_every": 300, "checkpoint_every": 300}
    config, path = on_slurm(name="folds", train=train, data={"shards": str(folded), "record_keys": False})
    words = (path, "--folds", "3", "--methods", "dann", "--name", "folds")
    job = cluster.submit("--array=0-1", "--cpus-per-task=2", "slurm/crossval.sbatch", *words)
    folder = config.run_folder

    def logs() -> str:
        return "\n".join(log.read_text() for log in cluster.scratch.glob("*.out"))

    eventually(lambda: len(list(folder.glob("dann-fold-*/metrics.jsonl"))) >= 2, logs, seconds=300)
    cluster.call("scancel", "--signal=USR1", "--batch", f"{job.number}_0")
    eventually(lambda: "== stopped; queued again" in logs(), logs)
    eventually((folder / "crossval.json").exists, logs, seconds=300)
    results = json.loads((folder / "crossval.json").read_text())
    assert sorted(run["fold"] for run in results["runs"]) == [0, 1, 2]
    assert results["methods"]["dann"]["target"]["images"] == 42
    for run in folder.glob("dann-fold-*"):
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        steps = [row["trainer/step"] for row in rows]
        assert steps == sorted(set(steps)), run
        assert steps[-1] == 300, run
