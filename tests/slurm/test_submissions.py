"""Requests of other shapes, and from other folders. The ranks are fakes, the scripts are real."""

import pytest

from job.config.load import load_config
from tests.support.running import REPO
from tests.support.slurm_cluster import Job
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
TRAIN = "slurm/train.sbatch"


@pytest.fixture(scope="module")
def environment(cluster):
    return cluster.fake_ranks("shapes", 'echo "CPUs $SLURM_CPUS_ON_NODE, threads $OMP_NUM_THREADS"; tell 0 ""')


def test_a_step_has_all_cpus_of_its_job(cluster, environment):
    """With --exclusive those are more than --cpus-per-task; one is left to the threads that decode images."""
    environment = environment | {"OMP_NUM_THREADS": ""}
    given = cluster.submit("--cpus-per-task=2", TRAIN, "configs/faces.yaml", **environment)
    assert given.wait() == 0, given.output()
    exclusive = cluster.submit("--exclusive", "--cpus-per-task=2", TRAIN, "configs/faces.yaml", **environment)
    assert exclusive.wait() == 0, exclusive.output()
    assert "CPUs 2, threads 1\n" in given.output()
    assert "CPUs 4, threads 3\n" in exclusive.output()


def test_threads_within_threads_are_not_counted_and_other_values_refused(cluster, environment):
    nested = cluster.submit("--cpus-per-task=1", TRAIN, "configs/faces.yaml", **environment, OMP_NUM_THREADS="4,2")
    wrong = cluster.submit("--cpus-per-task=1", TRAIN, "configs/faces.yaml", **environment, OMP_NUM_THREADS="many")
    assert nested.wait() == 0, nested.output()
    assert "threads 4\n" in nested.output()
    assert wrong.wait() == 2
    assert wrong.output().splitlines()[-1] == "error: OMP_NUM_THREADS=many is not a number of threads"


def test_a_heterogeneous_job_is_refused(cluster, environment):
    job = cluster.submit("--cpus-per-task=1", ":", "--cpus-per-task=2", TRAIN, "configs/faces.yaml", **environment)
    assert job.wait() == 2, job.output()
    assert job.output().splitlines()[-1].startswith("error: this is a heterogeneous job of 2 components, and only the")


@pytest.mark.parametrize("script", ["train", "evaluate", "shards"])
def test_submitted_in_another_folder_the_log_is_there_and_says_so(cluster, environment, tmp_path, script):
    words = ("sbatch", "--parsable", "--cpus-per-task=1", REPO / "slurm" / f"{script}.sbatch", "configs/faces.yaml")
    number = int(cluster.call(*words, cwd=tmp_path, **environment).stdout)
    job = Job(cluster, number, tmp_path / f"{script}-{number}.out")
    assert job.wait() == 2
    assert job.output().splitlines()[-1].startswith(f"error: {tmp_path} is not the repository: cd to the folder that")


def test_chdir_leads_to_the_repository_or_away_from_it(cluster, environment, tmp_path):
    words = ("--parsable", "--cpus-per-task=1", REPO / TRAIN, "configs/faces.yaml")
    there = int(cluster.call("sbatch", f"--chdir={REPO}", *words, cwd=tmp_path, **environment).stdout)
    away = int(cluster.call("sbatch", f"--chdir={tmp_path}", *words, **environment).stdout)
    jobs = [
        Job(cluster, there, REPO / "slurm" / "logs" / f"train-{there}.out"),
        Job(cluster, away, tmp_path / f"train-{away}.out"),
    ]
    for job in jobs:
        assert job.wait() == 0, job.output()
        eventually(lambda job=job: "== finished" in job.output(), job.output)


def test_a_check_that_did_not_run_for_a_reason_of_slurm_is_tried_again(cluster):
    """Here it is killed at the first start; a controller that is away then ends srun in the same way."""
    environment = cluster.fake_ranks("check", 'tell 0 ""')
    python = cluster.scratch / "check" / "python"
    python.write_text(python.read_text().replace("*--check*)", "*--check*) [[ $start -gt 0 ]] || kill -KILL $$;"))
    job = cluster.submit("--cpus-per-task=1", TRAIN, "configs/faces.yaml", **environment)
    assert job.wait() == 0, job.output()
    assert job.restarts == 1
    assert "== crashed (the check did not run on node" in job.output()


def test_a_site_file_without_python_ends_at_once(cluster):
    site = cluster.scratch / "empty.env"
    site.write_text("PATH=/usr/sbin:/usr/bin:/sbin:/bin\npython() { :; }\n")
    job = cluster.submit("--cpus-per-task=1", TRAIN, "configs/faces.yaml", JOB_SITE=str(site))
    assert job.wait() == 2, job.output()
    last = job.output().splitlines()[-1]
    assert last.startswith("error: the check did not run on node1, see above: load the software in slurm/site.env")


def test_the_first_submission_of_the_documentation_writes_the_shards_that_it_trains_on():
    page = (REPO / "docs" / "slurm.md").read_text()
    first = page[page.index("## First submission") : page.index("Submit from the repository")].splitlines()
    commands = [line.split() for line in first if line.startswith("    sbatch ")]
    scripts = [next(word for word in words if word.endswith(".sbatch")) for words in commands]
    assert scripts == ["slurm/shards.sbatch", "slurm/train.sbatch"]
    assert "--wait" in commands[0]
    config = load_config(REPO / commands[1][-1])
    assert commands[0][commands[0].index("--out") + 1] == config.data.shards
