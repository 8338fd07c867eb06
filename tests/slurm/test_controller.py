"""Slurm's controller does not answer when a job requeues itself. The ranks are fakes, the scripts are real."""

import pytest

from tests.support.running import REPO
from tests.support.slurm_cluster import Job
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
TRAIN = "slurm/train.sbatch"
ENDS = """
touch "$here/up$start"
until [[ -e $here/go$start ]]; do sleep 0.2; done
case $start in
  0) tell 1 "rank 0 on node1 was killed by SIGKILL"; exit 1 ;;
  1) tell 75 "" ;;
  2) tell 0 "" ;;
esac
"""


def test_crashes_while_the_controller_is_away(cluster):
    """One job asks until it is back, the other gives up after a second and says how to resume.

    The first one's log begins in the folder where it was submitted, moves to slurm/logs, and holds all three starts.
    """
    folder, gone = cluster.scratch / "away", cluster.scratch / "gone"
    submit = ("sbatch", "--parsable", "--cpus-per-task=1", TRAIN, "configs/faces.yaml")
    number = int(cluster.call(*submit, **cluster.fake_ranks("away", ENDS)).stdout)
    patient = Job(cluster, number, REPO / "slurm" / "logs" / f"train-{number}.out")
    environment = cluster.fake_ranks("gone", ENDS) | {"JOB_SLURM_PATIENCE": "1"}
    hasty = cluster.submit("--cpus-per-task=1", TRAIN, "configs/faces.yaml", "name=gone", **environment)
    link = REPO / f"train-{number}.out"
    eventually(lambda: (folder / "up0").exists() and (gone / "up0").exists(), patient.output)
    assert link.is_symlink()
    settings = cluster.folder / "slurm.conf"
    text = settings.read_text()
    settings.write_text(text + "MessageTimeout=2\n")  # scontrol gives up after 2 s in place of 18
    cluster.stop_controller()
    try:
        (folder / "go0").touch()
        (gone / "go0").touch()
        eventually(lambda: "== cannot queue it again: " in patient.output(), patient.output)
        eventually(lambda: "\nerror: " in hasty.output(), hasty.output)
    finally:
        settings.write_text(text)
        cluster.start_controller()
    last = hasty.output().splitlines()[-1]
    assert last.startswith("error: crashed (rank 0 on node1 was killed by SIGKILL), and Slurm does not queue it again")
    assert f"`scontrol requeue {hasty.number}`" in last
    assert last.endswith("sbatch slurm/train.sbatch configs/faces.yaml name=gone")

    eventually((folder / "up1").exists, patient.output)
    assert "== crashed (rank 0 on node1 was killed by SIGKILL); queued again\n" in patient.output()
    for start in (1, 2):
        (folder / f"go{start}").touch()
    assert patient.wait() == 0, patient.output()
    assert patient.restarts == 2
    assert "== stopped after" in patient.output()
    assert not link.exists()
    assert hasty.wait() == 75
