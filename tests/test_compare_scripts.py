"""launch/compare.sh and slurm/compare.sbatch with --methods: which runs they start, resume, reuse and compare.

The scripts are the real ones, in a copy of their folders. python and sbatch are stand-ins that record how they were
called, so a run takes no time.
"""

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.running import REPO
from tests.support.waiting import while_running

PYTHON = """#!/bin/bash
# train --check, a run, job.run_folder.finished, compare. runs/NAME.then holds the exit code that a run ends with.
echo "$*" >>"$SCRATCH/calls"
name=run method=dann
for word in "$@"; do
  case $word in name=*) name=${word#name=} ;; objective.name=*) method=${word#objective.name=} ;; esac
done
case "$*" in
  *"job train --check"*)
    [[ $method != dnan ]] || { echo "error: dnan is not a method: did you mean dann?" >&2; exit 2; }
    [[ $method != train_on_target || -z ${NO_LABELS:-} ]] || { echo "error: needs labels" >&2; exit 2; }
    [[ ! -e runs/$name/checkpoints ]] || { echo "error: runs/$name was begun with 64 streams" >&2; exit 2; }
    printf 'a line for people\\n1 0 runs/%s\\n' "$name" ;;
  *job.system.launch*)
    run=runs/$name code=0
    mkdir -p "$run"
    if [[ -e $run.then ]]; then code=$(<"$run.then"); rm "$run.then"; fi
    if [[ $code == wait ]]; then
      touch "$run/waits"
      while [[ ! -e $run/stop ]]; do sleep 0.02; done
      code=75
    fi
    if [[ $code == late ]]; then # a request to stop comes after the last figures
      touch "$run/waits"
      while [[ ! -e $run/stop ]]; do sleep 0.02; done
      code=0
    fi
    [[ $code != 0 ]] || echo "{}" >"$run/summary.json"
    printf '%s\\n\\n' "$code" >"$JOB_STATUS_FILE"
    exit "$code" ;;
  *job.run_folder.finished*) exit "${FINISHED:-0}" ;;
  *"job compare"*) echo "the table" ;;
  *) exit 3 ;;
esac
"""
SBATCH = """#!/bin/bash
echo "$*" >>"$SCRATCH/submitted"
echo "methods=$OBJECTIVES seeds=$SEEDS" >>"$SCRATCH/environments"
echo $((100 + $(wc -l <"$SCRATCH/submitted")))
"""


@dataclass
class Scripts:
    """A folder with the scripts, and what they called."""

    folder: Path
    environment: dict[str, str]

    def start(self, script: str, *words: str, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            [script, *words], cwd=self.folder, env=self.environment | environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def run(self, script: str, *words: str, **environment: str) -> tuple[int, str, str]:
        """Return exit code, stdout and stderr."""
        process = self.start(script, *words, **environment)
        out, errors = process.communicate(timeout=200)
        return process.returncode, out, errors

    def calls(self, what: str) -> list[list[str]]:
        """Return the words of every call of python that contains `what`, and forget all calls."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line.split() for line in lines if what in line]

    def runs(self) -> list[str]:
        """Return the names of the runs that were started, in order, and forget them."""
        return [name for words in self.calls("job.system.launch") for name in named(words)]


def named(words: list[str]) -> list[str]:
    return [word.removeprefix("name=") for word in words if word.startswith("name=")][-1:]


def program(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o755)


@pytest.fixture
def scripts(tmp_path):
    for folder in ("launch", "slurm"):
        shutil.copytree(REPO / folder, tmp_path / folder, ignore=shutil.ignore_patterns("logs"))
    for path in ("job/__main__.py", "configs/toy.yaml"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).touch()
    for name, content in (("python", PYTHON), ("accelerate", PYTHON), ("sbatch", SBATCH)):
        program(tmp_path / "bin" / name, content)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "JOB_"))}
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    return Scripts(tmp_path, own | {"PATH": path, "SCRATCH": str(tmp_path)})


# launch/compare.sh ----------------------------------------------------------------------------------------------------

LOCAL = ("launch/compare.sh", "configs/toy.yaml", "--methods", "dann", "dann+mcc", "--seeds", "0", "1")
ALL = [
    f"toy-{method}-{seed}" for seed in (0, 1) for method in ("source_only", "dann", "dann+mcc", "train_on_target")
]  # fmt: skip


@pytest.mark.parametrize("words", [LOCAL, (*LOCAL[:2], "--methods", "dann,dann+mcc", "--seeds", "0,1")])
def test_every_method_is_trained_with_every_seed_and_compared(scripts, words):
    code, out, errors = scripts.run(*words, "train.steps=5")
    assert code == 0, errors
    assert out.splitlines()[-2:] == ["the table", "comparison: runs/toy-comparison"]
    calls = scripts.calls("")
    launched = [words for words in calls if "job.system.launch" in words]
    assert [named(words)[0] for words in launched] == ALL
    for words in launched:
        method, seed = named(words)[0].removeprefix("toy-").rsplit("-", 1)
        assert {"train.steps=5", f"objective.name={method}", f"seed={seed}"} <= {*words}
    assert calls[-1] == ["-m", "job", "compare", *(f"runs/{name}" for name in ALL), "--out", "runs/toy-comparison"]


def test_a_comparison_that_stopped_resumes_at_the_run_that_stopped(scripts):
    (scripts.folder / "runs").mkdir()
    (scripts.folder / "runs" / f"{ALL[2]}.then").write_text("75")
    code, _, errors = scripts.run(*LOCAL)
    assert code == 75
    assert f"{ALL[2]} ended with 75: run the same command again to resume" in errors
    assert scripts.runs() == ALL[:3]
    assert scripts.run(*LOCAL)[0] == 0
    calls = scripts.calls("")
    assert [named(words)[0] for words in calls if "job.system.launch" in words] == ALL[2:]
    assert [named(words)[0] for words in calls if "job.run_folder.finished" in words] == ALL[:2]
    assert [word.removeprefix("runs/") for word in calls[-1][3:-2]] == ALL
    assert scripts.run(*LOCAL)[0] == 0
    assert scripts.runs() == []


@pytest.mark.parametrize(
    ("then", "says"),
    [
        ("wait", "stopped: run the same command again to resume"),
        ("late", f"stopped after {ALL[1]}, which is finished: run the same command again to go on"),
    ],
)
def test_a_signal_stops_the_run_and_the_comparison(scripts, then, says):
    (scripts.folder / "runs").mkdir()
    (scripts.folder / "runs" / f"{ALL[1]}.then").write_text(then)
    process = scripts.start(*LOCAL)
    while_running(process, (scripts.folder / "runs" / ALL[1] / "waits").exists, 200)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 75, errors
    assert errors.splitlines()[-1] == says
    assert "ended with" not in errors
    assert scripts.runs() == ALL[:2]


def test_another_run_with_the_name_of_the_comparison_does_not_matter(scripts):
    (scripts.folder / "runs" / "toy" / "checkpoints").mkdir(parents=True)
    code, out, errors = scripts.run(*LOCAL)
    assert code == 0, errors
    assert out.splitlines()[-1] == "comparison: runs/toy-comparison"
    assert scripts.runs() == ALL


def test_bounds_that_the_shards_cannot_give_or_nobody_wants_are_left_out(scripts):
    assert scripts.run(*LOCAL, NO_LABELS="1")[0] == 0
    assert scripts.runs() == [name for name in ALL if "train_on_target" not in name]
    words = ("--methods", "mcc", "--no-bounds", "configs/toy.yaml", "name=other")
    assert scripts.run("launch/compare.sh", *words)[0] == 0
    assert scripts.runs() == ["other-mcc-0", "other-mcc-1", "other-mcc-2"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("configs/toy.yaml", "--methods", "dann", "dnan"), "error: dnan is not a method: did you mean dann?"),
        (("configs/toy.yaml", "--methods", "dann", "--seeds", "x"), "error: --seeds contains x, which is not a seed"),
        (("configs/toy.yaml", "--seeds", "0"), "error: no methods: add --methods dann mcc"),
        (("--methods", "dann", "--seeds", "0"), "error: no configuration: launch/compare.sh"),
        (("configs/toy.yaml", "--methods", "dann", "--jobs"), "error: unknown option --jobs"),
    ],
)
def test_a_mistake_is_reported_before_the_first_run(scripts, words, says):
    code, _, errors = scripts.run("launch/compare.sh", *words)
    assert code == 2
    assert errors.startswith(says)
    assert scripts.runs() == []


def test_a_finished_run_of_another_configuration_is_refused(scripts):
    assert scripts.run(*LOCAL)[0] == 0
    scripts.calls("")
    assert scripts.run(*LOCAL, FINISHED="2")[0] == 2
    assert scripts.runs() == []


# slurm/compare.sbatch -------------------------------------------------------------------------------------------------

SLURM = ("--gpus-per-node=4", "--partition=big", "configs/toy.yaml", "--methods", "dann", "mcc", "--seeds", "0", "1")
METHODS = ("source_only", "dann", "mcc", "train_on_target")


@pytest.fixture
def installed(scripts):
    """The scripts where `make setup` was run: the configuration is checked before anything is submitted."""
    program(scripts.folder / ".venv" / "bin" / "python", PYTHON)
    return scripts


def submitted(scripts) -> list[list[str]]:
    path = scripts.folder / "submitted"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def test_an_array_of_all_runs_and_a_job_that_compares_them(installed):
    code, out, errors = installed.run("slurm/compare.sbatch", *SLURM, "train.steps=5")
    assert code == 0, errors
    assert "8 runs: job array 101" in out
    array, comparison = submitted(installed)
    assert array[:2] == ["--parsable", "--array=0-7"]
    assert {"--gpus-per-node=4", "--partition=big"} <= {*array}
    assert array[array.index("slurm/compare.sbatch") + 1 :] == ["configs/toy.yaml", "train.steps=5"]
    assert {"--dependency=afterok:101", "--partition=big", "--write-comparison"} <= {*comparison}
    assert "--gpus-per-node=4" not in comparison  # the comparison needs none
    environments = (installed.folder / "environments").read_text().splitlines()
    assert environments == [f"methods={' '.join(METHODS)} seeds=0 1"] * 2


def test_the_tasks_of_the_array_are_the_runs_that_are_compared(installed):
    """Each task reads its method and seed from its number; the last job derives the same names."""
    program(installed.folder / "slurm" / "train.sbatch", '#!/bin/bash\necho "$*" >>"$SCRATCH/tasks"\n')
    (installed.folder / "slurm" / "setup.sh").write_text('on_head() { "$@"; }\n')
    environment = {"OBJECTIVES": " ".join(METHODS), "SEEDS": "0,1"}
    for number in range(8):
        task = environment | {"SLURM_ARRAY_TASK_ID": str(number)}
        assert installed.run("slurm/compare.sbatch", "configs/toy.yaml", "name=mine", "train.steps=5", **task)[0] == 0
    tasks = [line.split() for line in (installed.folder / "tasks").read_text().splitlines()]
    names = [f"mine-{method}-{seed}" for method in METHODS for seed in (0, 1)]
    assert [named(words)[0] for words in tasks] == names
    assert tasks[3] == ["configs/toy.yaml", "train.steps=5", "objective.name=dann", "seed=1", "name=mine-dann-1"]
    last = environment | {"SLURM_SUBMIT_DIR": str(installed.folder)}
    words = ("--write-comparison", "configs/toy.yaml", "name=mine", "train.steps=5")
    code, out, errors = installed.run("slurm/compare.sbatch", *words, **last)
    assert code == 0, errors
    assert out == "the table\n"
    runs = [f"runs/{name}" for name in names]
    assert installed.calls("job compare") == [["-m", "job", "compare", *runs, "--out", "runs/mine-comparison"]]


def test_without_target_labels_there_is_no_upper_bound(installed):
    assert "6 runs" in installed.run("slurm/compare.sbatch", *SLURM, NO_LABELS="1")[1]
    assert "4 runs" in installed.run("slurm/compare.sbatch", *SLURM, "--no-bounds")[1]


def test_without_an_environment_on_the_login_node_the_labels_are_unknown(scripts):
    code, out, errors = scripts.run("slurm/compare.sbatch", *SLURM)
    assert code == 0
    assert "train_on_target is left out: name it in --methods if the shards have target labels" in errors
    assert "6 runs" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("configs/toy.yaml", "--methods", "dann", "dnan"), "error: dnan is not a method: did you mean dann?"),
        (("configs/toy.yaml", "--methods", "dann", "--seeds", "x"), "error: SEEDS contains x, which is not a seed"),
        (("configs/none.yaml", "--methods", "dann"), "error: no configuration at configs/none.yaml"),
        (("--methods", "dann"), "error: no configuration: slurm/compare.sbatch"),
    ],
)
def test_a_mistake_is_reported_before_anything_is_submitted(installed, words, says):
    code, _, errors = installed.run("slurm/compare.sbatch", *words)
    assert code == 2
    assert errors.startswith(says)
    assert submitted(installed) == []
