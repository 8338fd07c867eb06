"""Ends that Slurm itself would wait for. The ranks are fakes, the scripts are real."""

import os
import signal
import time

import pytest

from tests.support.slurm_cluster import signal_all
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
TRAIN = "slurm/train.sbatch"


def test_the_step_daemon_of_one_node_is_killed(cluster):
    """It carries the output and reports the end: the ranks save, and the job is queued again."""
    wait = "until [[ -e $JOB_RUN_FOLDER/stop || $start == 1 ]]; do sleep 0.2; done\n"
    ends = 'cp "$JOB_RUN_FOLDER/stop" "$here/why"; tell 75 ""; [[ $start == 0 ]] || tell 0 ""'
    environment = cluster.fake_ranks("daemon", wait + ends) | {"JOB_END_WAIT": "2"}
    job = cluster.submit("--nodes=2", "--cpus-per-task=1", TRAIN, "configs/faces.yaml", **environment)
    pid = eventually(lambda: cluster.step_daemon("node2", f"{job.number}.1"), job.output)
    time.sleep(2)  # launch/node.sh has noted its parent by then
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: job.restarts == 1, job.output, seconds=60)
    assert "== stopped after" in job.output()
    assert "has a step daemon died?" in job.output()
    assert (cluster.scratch / "daemon" / "why").read_text() == "Slurm's step daemon on node2 has died\n"
    assert job.wait() == 0, job.output()


def test_a_stop_that_comes_to_one_node_only_before_its_ranks_listen(cluster):
    """The other node waits in the rendezvous, for which it has five minutes."""
    scenario = '[[ $start == 0 ]] || { tell 0 ""; exit; }; touch "$here/$(hostname)"; sleep 600'
    environment = cluster.fake_ranks("early", scenario)
    job = cluster.submit("--nodes=2", "--cpus-per-task=1", TRAIN, "configs/faces.yaml", **environment)
    folder = cluster.scratch / "early"
    eventually(lambda: (folder / "node1").exists() and (folder / "node2").exists(), job.output)
    space = f"slurm{cluster.folder.suffix[1:]}-node2"
    for pid in map(int, cluster.call("ip", "netns", "pids", space).stdout.split()):
        words = cluster.call("ps", "-o", "args=", "-p", pid, check=False).stdout
        if "launch/node.sh" in words or "job.system.launch" in words or "sleep 600" in words:
            signal_all([pid], signal.SIGTERM)
    eventually(lambda: job.restarts == 1, job.output, seconds=60)
    assert "== stopped before it could save; queued again" in job.output()
    assert job.wait() == 0, job.output()
