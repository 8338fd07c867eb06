"""Nodes that fail the pre-flight. The checks and the scripts are real, the ranks are fakes."""

import contextlib

import pytest

from tests.support.waiting import eventually

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
TRAIN = "slurm/train.sbatch"
FINISH = 'echo "$JOB_HOSTS" >>"$here/trained-on"; tell 0 ""'


@contextlib.contextmanager
def full_disk(cluster, node, folder):
    """Mount a file system without room on one node."""
    cluster.node(node, "run", "mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder)
    try:
        cluster.node(node, "run", "dd", "if=/dev/zero", f"of={folder}/filler", "bs=4k", "count=1", "status=none")
        yield
    finally:
        cluster.node(node, "run", "umount", folder)


def test_a_node_with_a_full_disk_is_excluded_and_the_job_runs_on_another(cluster, on_slurm):
    cache = cluster.scratch / "cache"
    cache.mkdir()
    _, path = on_slurm(name="full", data={"stage": True, "cache_dir": str(cache)})
    environment = cluster.fake_ranks("full", FINISH) | {"JOB_PREFLIGHT": "true"}
    environment["JOB_SITE_CHECK"] = "[[ $SLURMD_NODENAME == node* ]]"
    with full_disk(cluster, "node1", cache):
        job = cluster.submit("--nodes=1", "--cpus-per-task=1", TRAIN, path, **environment)
        eventually(lambda: job.restarts == 1, job.output, seconds=60)
        eventually(lambda: job.show()["ExcNodeList"] == "node1", job.output)  # a job takes it only while it waits
        assert job.wait() == 0, job.output()
    assert "== excluded after the pre-flight: node1: cache folder: cannot write to " in job.output()
    assert "No space left on device; queued again" in job.output()
    assert (cluster.scratch / "full" / "trained-on").read_text() == "node2\n"


def test_a_spare_node_takes_the_place_of_one_that_the_site_s_check_refuses(cluster, on_slurm):
    _, path = on_slurm(name="spare")
    environment = cluster.fake_ranks("spare", FINISH) | {"JOB_PREFLIGHT": "true", "JOB_SPARE_NODES": "1"}
    environment["JOB_SITE_CHECK"] = '[[ $SLURMD_NODENAME != node1 ]] || { echo "fan 3 stands still"; false; }'
    job = cluster.submit("--nodes=2", "--cpus-per-task=1", TRAIN, path, **environment)
    assert job.wait() == 0, job.output()
    assert "== left out: node1: site check: fan 3 stands still\n" in job.output()
    assert (cluster.scratch / "spare" / "trained-on").read_text() == "node2\n"
    assert job.restarts == 0
