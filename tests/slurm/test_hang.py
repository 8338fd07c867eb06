"""A rank that hangs."""

import signal

import pytest

from tests.support.slurm_cluster import signal_all
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def test_the_others_do_not_wait_for_longer_than_the_timeout(cluster, on_slurm):
    """One rank hangs; srun then ends it and the others."""
    config, path = on_slurm(name="hangs", train={"steps": 5000, "eval_every": 5000, "timeout_seconds": 20})
    job = cluster.submit("--nodes=2", "slurm/train.sbatch", path, "name=hangs", JOB_RANKS="1", JOB_MAX_CRASHES="1")
    eventually((config.run_folder / "checkpoints" / "latest").exists, job.output)
    signal_all(cluster.ranks("node2"), signal.SIGSTOP)
    assert job.wait(90) == 1
    last = job.output().splitlines()[-1]
    assert last.startswith("error: crashed 1 times in a row without a new checkpoint")
    assert "rank 1 on node2 does not answer" in last
    assert "Thread" in (config.run_folder / "hang" / "rank_00000.txt").read_text()
    assert not cluster.ranks("node1")
    assert not cluster.ranks("node2")
