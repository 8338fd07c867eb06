"""Variables of the environment that are used, ignored with a warning, or refused."""

import os
import subprocess
import sys

import pytest

from job.system.errors import JobError
from job.system.foreign_environment import IGNORED, REFUSED, clean_environment
from tests.support.preloaded import in_a_fork
from tests.support.running import REPO, assert_same_weights, weights


def test_settings_of_accelerate_are_removed_and_named_with_the_key_of_the_configuration():
    values = dict.fromkeys(IGNORED, "4")
    environment = dict(values, ACCELERATE_USE_CPU="true", ACCELERATE_CPU_AFFINITY="1", HOME="/root")
    warnings = clean_environment(environment)
    assert environment == {"ACCELERATE_USE_CPU": "true", "ACCELERATE_CPU_AFFINITY": "1", "HOME": "/root"}
    assert len(warnings) == len(IGNORED)
    for (name, key), warning in zip(IGNORED.items(), warnings, strict=True):
        assert warning == f"{name}=4 of the environment is ignored: use {key}"


def test_variables_of_accelerate_launch_raise_no_warning():
    environment = {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "NO"}
    environment |= {"ACCELERATE_DYNAMO_MODE": "default", "ACCELERATE_DYNAMO_USE_DYNAMIC": "False"}
    assert clean_environment(environment) == []


@pytest.mark.parametrize("name", REFUSED)
def test_another_way_of_training_is_refused_and_its_absence_is_not(name):
    assert clean_environment({name: "false"}) == []
    with pytest.raises(JobError, match=f"{name}=True requests .* does not support: unset {name}"):
        clean_environment({name: "True"})


def test_ranks_count_only_when_a_launcher_set_them():
    ranks = {"RANK": "1", "LOCAL_RANK": "x", "WORLD_SIZE": "1", "MASTER_ADDR": "gone"}
    environment = dict(ranks)
    assert clean_environment(environment) == [
        "RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR of the environment ignored: no launcher has set them"
    ]
    assert environment == {}
    for launcher in ("TORCHELASTIC_RUN_ID", "JOB_EXPECTED_RANKS"):
        environment = ranks | {launcher: "1"}
        assert clean_environment(environment) == []
        assert environment == ranks | {launcher: "1"}


@pytest.mark.parametrize("name", ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_a_world_of_several_ranks_without_a_launcher_is_refused_where_ranks_matter(name):
    with pytest.raises(JobError, match=f"{name}=2 is set, but no launcher started this process.*unset {name}, and"):
        clean_environment({name: "2"})
    environment = {name: "2"}
    clean_environment(environment, distributed=False)
    assert environment == {}


def test_one_task_of_srun_raises_no_warning():
    assert clean_environment({"PMI_RANK": "0", "PMI_SIZE": "1"}) == []


def run_job(*words, **environment):
    command = [sys.executable, "-m", "job", *map(str, words)]
    return subprocess.run(command, cwd=REPO, env=os.environ | environment, capture_output=True, text=True)


@pytest.mark.slow
def test_commands_as_a_user_calls_them(small, tmp_path):
    """Gradient accumulation of the environment divided every gradient; stale ranks waited for others."""
    plain, dirty = (small(name=name, train={"steps": 4, "eval_every": 4}) for name in ("plain", "dirty"))
    for config in (plain, dirty):
        (tmp_path / f"{config.name}.yaml").write_text(config.to_yaml())
    stale = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "gone", "MASTER_PORT": "1"}
    foreign = {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "ACCELERATE_MIXED_PRECISION": "bf16"}
    foreign |= {"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}
    code, output = in_a_fork("train", "--config", tmp_path / "plain.yaml")
    assert code == 0, output
    assert "warning" not in output
    done = run_job("train", "--config", tmp_path / "dirty.yaml", **stale, **foreign)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: ") == 4
    assert_same_weights(weights(plain), weights(dirty))

    checkpoint = plain.run_folder / "checkpoints" / "latest"
    code, output = in_a_fork("evaluate", "--checkpoint", checkpoint, **stale, **foreign)
    assert code == 0, output
    assert "warning: RANK, " in output
    several = stale | {"WORLD_SIZE": "2"}
    for command in (("evaluate", "--checkpoint", checkpoint), ("train", "--config", tmp_path / "plain.yaml")):
        done = run_job(*command, **several)
        assert done.returncode == 2
        assert done.stderr.startswith("error: WORLD_SIZE=2 is set, but no launcher started this process")
        assert done.stderr.count("\n") == 1
    done = run_job("doctor", "--config", tmp_path / "plain.yaml", **several, **foreign)
    assert "fail  environment      WORLD_SIZE=2 is set" in done.stdout
    assert not done.stderr


def test_threads_sleep_while_they_wait_by_default():
    from job.system.threads import let_threads_sleep, threads_spin

    environment = {}
    let_threads_sleep(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE"}
    assert not threads_spin(8, environment)
    for decided in ({"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "1000"}, {"SLURM_JOB_ID": "1"}):
        environment = dict(decided)
        let_threads_sleep(environment)
        assert environment == decided
        assert threads_spin(2, environment)
        assert not threads_spin(1, environment)


def test_the_command_line_decides_before_torch_is_imported():
    """OpenMP reads the variable once, when torch loads it."""
    code = "import sys, job.__main__; assert 'torch' not in sys.modules; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=REPO, check=True)
