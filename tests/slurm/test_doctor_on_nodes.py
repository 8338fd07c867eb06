"""`srun python -m job doctor` on two nodes."""

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
SRUN = ("srun", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=2")


def test_two_nodes_that_are_fit(cluster, on_slurm):
    _, path = on_slurm(name="fit")
    done = cluster.call(*SRUN, "python", "-m", "job", "doctor", "--config", path)
    assert "  gloo all-reduce  node1 - node2: correct, " in done.stdout  # how fast is the machine's affair
    assert "  clock            all: " in done.stdout
    assert "ok    run folder       all: shared by all nodes" in done.stdout
    assert "ok    CPUs             all: 2" in done.stdout
    assert done.stdout.count("readable, ") == 2
    assert not done.stderr


def test_a_problem_of_one_node_is_reported_with_its_name(cluster, on_slurm, faces):
    config, path = on_slurm(name="unfit")
    config.run_folder.parent.mkdir(exist_ok=True)
    for folder in (faces, config.run_folder.parent):
        cluster.node("node2", "run", "mount", "-t", "tmpfs", "tmpfs", folder)
    try:
        done = cluster.call(*SRUN, "python", "-m", "job", "doctor", "--config", path, check=False)
    finally:
        for folder in (faces, config.run_folder.parent):
            cluster.node("node2", "run", "umount", folder)
    assert done.returncode == 2
    assert f"fail  shards           node2: {faces} contains no shards" in done.stdout
    assert f"fail  run folder       node2: {config.run_folder.parent} is not the head's folder" in done.stdout
    assert "  gloo all-reduce  node1 - node2: correct" in done.stdout
