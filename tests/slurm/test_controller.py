"""Slurm's controller is away just when a job wants to be queued again. The ranks are fakes, the scripts are real."""

import pytest

from tests.support.running import REPO
from tests.support.slurm_cluster import Job, eventually

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


@pytest.fixture(autouse=True)
def _impatient_commands(cluster):
    """scontrol gives up after seconds in place of a minute."""
    settings = cluster.folder / "slurm.conf"
    text = settings.read_text()
    settings.write_text(text + "MessageTimeout=2\n")
    yield
    settings.write_text(text)
    cluster.call("scontrol", "reconfigure")


def test_a_crash_is_queued_again_once_the_controller_is_back(cluster):
    """The log begins in the folder where the job was submitted, moves to slurm/logs, and holds all three starts."""
    environment = cluster.fake_ranks("away", ENDS)
    folder = cluster.scratch / "away"
    submit = ("sbatch", "--parsable", "--cpus-per-task=1", TRAIN, "configs/faces.yaml")
    number = int(cluster.call(*submit, **environment).stdout)
    job = Job(cluster, number, REPO / "slurm" / "logs" / f"train-{number}.out")
    link = REPO / f"train-{number}.out"
    eventually((folder / "up0").exists, job.output)
    assert link.is_symlink()
    cluster.stop_controller()
    try:
        (folder / "go0").touch()
        eventually(lambda: "== cannot queue it again: " in job.output(), job.output)
    finally:
        cluster.start_controller()
    eventually((folder / "up1").exists, job.output)
    assert "== crashed (rank 0 on node1 was killed by SIGKILL); queued again\n" in job.output()
    for start in (1, 2):
        (folder / f"go{start}").touch()
    assert job.wait() == 0, job.output()
    assert job.restarts == 2
    assert "== stopped after" in job.output()
    assert not link.exists()


def test_a_controller_that_stays_away_leaves_a_line_that_says_how_to_go_on(cluster):
    environment = cluster.fake_ranks("gone", ENDS) | {"JOB_SLURM_PATIENCE": "1"}
    job = cluster.submit("--cpus-per-task=1", TRAIN, "configs/faces.yaml", "name=gone", **environment)
    eventually((cluster.scratch / "gone" / "up0").exists, job.output)
    cluster.stop_controller()
    try:
        (cluster.scratch / "gone" / "go0").touch()
        eventually(lambda: "\nerror: " in job.output(), job.output)
    finally:
        cluster.start_controller()
    assert job.wait() == 75
    last = job.output().splitlines()[-1]
    assert last.startswith("error: crashed (rank 0 on node1 was killed by SIGKILL), and Slurm does not queue it again")
    assert f"`scontrol requeue {job.number}`" in last
    assert last.endswith("sbatch slurm/train.sbatch configs/faces.yaml name=gone")
