"""`python -m job search`: trials, pruning, failures, results; killed and resumed; several processes on one study."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from job.config.load import build_config
from job.evaluation.ensemble import write_predictions
from job.search.search import Search
from job.search.trial_run import TrialRun
from tests.support.running import REPO
from tests.support.waiting import eventually


def start(words: list, **environment: str) -> subprocess.Popen:
    """A search with fake runs in a process of its own."""
    command = [sys.executable, "-m", "tests.support.fake_search", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=REPO, env=os.environ | environment, **pipes)


def slow_down(study: Path, *seconds: float) -> None:
    """Let the fake runs pause before their first, second, ... evaluation (the last: before all others, too)."""
    study.mkdir(parents=True, exist_ok=True)
    (study / "pause.new").write_text(" ".join(map(str, seconds)))
    (study / "pause.new").rename(study / "pause")  # runs may be reading it


@pytest.mark.slow
def test_it_finds_the_best_value_and_writes_a_configuration_that_train_takes(search, trials, study, job):
    code, output, errors = search("--trials", 14, "--pruner", "none", "train.steps=24")
    assert code == 0, errors
    best = yaml.safe_load((study / "best.yaml").read_text())
    found = json.loads((study / "search.json").read_text())
    assert 0.003 < best["optimizer"]["lr"] < 0.03
    assert best["optimizer"]["lr"] == trials()[found["best"]]["values"]["optimizer.lr"]
    assert (best["name"], best["selection"]["score"]) == ("study-best", "infomax")
    assert best["wandb"]["group"] is None, "settings of trials are not those of the result"
    assert trials()[0]["values"] == {"optimizer.lr": 0.005}, "the configuration as it is"
    assert f"best: trial {found['best']}" in output
    assert len((study / "trials.csv").read_text().splitlines()) == 15
    assert (study / "search.png").stat().st_size > 10_000
    code, plan, errors = job("train", "--check", "--config", study / "best.yaml")
    assert code == 0, errors
    assert plan.endswith("/runs/study-best\n")
    config = yaml.safe_load((study / "trial-0003" / "config.yaml").read_text())
    assert (config["wandb"]["group"], config["name"]) == ("study", "trial-0003")


@pytest.mark.slow
def test_the_score_is_that_of_the_source_labels_and_unlabelled_target_alone(search, trials):
    """The oracle of the fake runs prefers the opposite."""
    search("--trials", 6, "--pruner", "none")
    ordered = sorted(trials(), key=lambda trial: -trial["score"])
    assert (
        ordered[0]["values"]["optimizer.lr"]
        == min((trial["values"]["optimizer.lr"] for trial in trials()), key=lambda rate: abs(rate - 0.01) / rate)
        or ordered[0]["score"] > -2
    )


@pytest.mark.slow
def test_the_same_seed_proposes_the_same_trials_in_one_start_or_in_several(search, trials, study):
    search("--trials", 9)
    whole = [trial["values"] for trial in trials()]
    study.rename(study.with_name("first"))
    for some in (2, 5, 9):
        assert search("--trials", some)[0] == 0
    assert [trial["values"] for trial in trials()] == whole
    study.rename(study.with_name("second"))
    search("--trials", 3, "--seed", 1)
    assert [trial["values"] for trial in trials()][1:] != whole[1:3]


def test_run_again_with_all_trials_done_it_prints_the_table_and_starts_nothing(search, study):
    _, first, _ = search("--trials", 3)
    code, again, errors = search("--trials", 3)
    assert code == 0, errors
    assert "trial 1:" not in again
    assert again.splitlines() == first.splitlines()[-len(again.splitlines()) :]
    assert search("--report")[1] == again
    assert search("--report", "data.shards=/nowhere")[1] == again
    code, _, errors = search("--report", "data.shards=/nowhere", "train.steps=7")
    assert code == 2
    assert "choose another name (--name NAME or name=NAME), or put the values back" in errors
    assert [path.read_text() for path in study.glob("*/starts")] == ["x"] * 3


@pytest.mark.slow
def test_trials_with_low_scores_are_stopped_and_recorded_as_pruned(search, trials, study, monkeypatch):
    slow_down(study, 0.02, math.inf)  # until the search has looked at the first score
    follow = TrialRun._follow

    def follow_and_release(run):
        follow(run)
        if run._reported and not run._pruning:
            slow_down(run._config.run_folder, 0.02)

    monkeypatch.setattr(TrialRun, "_follow", follow_and_release)
    code, _, errors = search("--trials", 8)
    assert code == 0, errors
    pruned = [trial for trial in trials() if trial["state"] == "pruned"]
    assert [trial["trial"] for trial in pruned] == [5, 6, 7], "those that begin below the median of the others"
    assert all(len(trial["scores"]) < 3 for trial in pruned)
    assert not list(study.glob("trial-*/stop"))
    assert not list(study.glob("trial-*/twice"))


@pytest.mark.slow
def test_a_run_that_diverges_or_crashes_is_a_failed_trial_and_the_search_continues(search, trials, study):
    study.mkdir(parents=True)
    (study / "trial-0001.then").write_text("not finite")
    (study / "trial-0002.then").write_text("1")
    code, output, errors = search("--trials", 4)
    assert code == 0, errors
    assert [trial["state"] for trial in trials()] == ["finished", "failed", "failed", "finished"]
    assert trials()[1]["reason"] == "The loss is NaN at step 3"
    assert (study / "trial-0002" / "starts").read_text() == "xx", "a crashed run is resumed once"
    assert "2 finished, 0 pruned, 2 failed" in output


def test_a_mistake_in_every_run_ends_the_search_and_loses_no_trial(search, trials, study):
    study.mkdir(parents=True)
    (study / "trial-0001.then").write_text("2")
    code, _, errors = search("--trials", 3)
    assert code == 2
    assert errors == "error: no space left: make room\n"
    (study / "trial-0001.then").unlink()
    (study / "trial-0001" / "status.json").unlink()
    assert search("--trials", 3)[0] == 0
    assert [trial["state"] for trial in trials()] == ["finished"] * 3


@pytest.mark.slow
def test_trials_are_compared_by_the_score_or_the_sum_that_is_named(search, trials, study):
    methods = "objective.name: {choices: [dann, coral]}\noptimizer.lr: {low: 0.0001, high: 1, log: true}\n"
    # the sum, of half of one parabola over log lr and another, is highest a third of the way from the second's best
    for words, best in (
        ((), 0.01),
        (("--compare-by", "infomax+class_ami"), 0.046),
        (("--compare-by", "class_ami"), 0.1),
    ):
        code, _, errors = search("--trials", 4, "--pruner", "none", *words, space=methods)
        assert code == 0, errors
        scores = {trial["score"]: trial["values"]["optimizer.lr"] for trial in trials()}
        nearest = min(scores.values(), key=lambda rate: abs(math.log10(rate / best)))
        assert yaml.safe_load((study / "best.yaml").read_text())["optimizer"]["lr"] == scores[max(scores)] == nearest
        assert yaml.safe_load((study / "best.yaml").read_text())["selection"]["score"] == "infomax", "within a run"
        study.rename(study.with_name(f"by-{best}"))
    for wrong, says in (
        ("target_accuracy", "target_accuracy needs target labels, and a search chooses without them: use infomax,"),
        ("ensembel", "there is no score 'ensembel': use infomax, entropy"),
        ("infomax+", "there is no score '': use ensemble, infomax, mixval"),
        ("infomax+dev", "dev has no highest value, so it cannot be part of a sum: use ensemble, infomax, mixval, bnm"),
        ("infomax+infomax", "infomax is there more than once"),
    ):
        code, _, errors = search("--compare-by", wrong, "--trials", 1)
        assert code == 2
        assert errors.startswith(f"error: --compare-by {wrong}: {says}")


@pytest.mark.parametrize("seeds", ["0", "3,4"])
def test_trials_are_compared_by_their_agreement_with_the_ensemble(search, trials, study, seeds):
    """Whatever their scores are, the trial that agrees most with the mean of all is the best; in a sum both count."""
    right = np.arange(12) % 3
    for number, wrong in enumerate((range(3), range(0), range(3, 5), range(5, 9))):  # on other images each
        sure = np.eye(3)[right] * 0.7 + 0.1
        sure[wrong] = np.roll(np.eye(3)[right[wrong]], 1, axis=1) * 0.4 + 0.2
        for run in [""] if seeds == "0" else ["seed-3", "seed-4"]:
            (study / f"trial-{number:04d}" / run / "evaluation").mkdir(parents=True)
            write_predictions(study / f"trial-{number:04d}" / run, 24, np.log(sure))
    space = "objective.name: {choices: [dann, dann+mcc]}\noptimizer.lr: {low: 0.0001, high: 1, log: true}\n"
    words = ("--pruner", "none", "--seeds", seeds, "--compare-by", "ensemble")
    code, output, errors = search("--trials", 2, *words, space=space)
    assert code == 0, errors
    if seeds == "0":
        assert "compared by infomax: an ensemble needs 3 finished runs" in output
    code, output, errors = search("--trials", 4, *words, space=space)
    assert code == 0, errors
    agreements = [trial["ensemble"] for trial in trials()]
    assert agreements == pytest.approx([9 / 12, 1, 10 / 12, 8 / 12])
    assert "best: trial 1," in output
    assert ["trial", "ensemble", "infomax", "settings"] in [line.split() for line in output.splitlines()]
    found = json.loads((study / "search.json").read_text())
    assert (found["best"], found["compared_by"], found["score"]) == (1, "ensemble", "infomax")
    best = (study / "best.yaml").read_text()
    assert best.startswith("# The best of 4 trials in ")
    assert f"trial 1, ensemble {agreements[1]:.4f}" in best
    assert yaml.safe_load(best)["optimizer"]["lr"] == trials()[1]["values"]["optimizer.lr"]
    assert "ensemble" in (study / "trials.csv").read_text().splitlines()[0].split(",")

    settings = json.loads((study / "study.json").read_text())  # as if it had begun with the default
    (study / "study.json").write_text(json.dumps(settings | {"compare_by": "ensemble+infomax"}))
    code, output, errors = search("--trials", 4, *words[:-2], space=space)
    assert code == 0, errors
    totals = [trial["total"] for trial in trials()]
    assert totals == pytest.approx([trial["ensemble"] + trial["score"] / 2 for trial in trials()])
    assert f"best: trial {totals.index(max(totals))}," in output
    assert ["trial", "ensemble+infomax", "ensemble", "infomax"] in [row.split()[:4] for row in output.splitlines()]
    assert totals.index(max(totals)) != 1, "its score is too low"


def test_the_mean_over_seeds_is_the_score(search, trials, study):
    code, _, errors = search("--trials", 2, "--seeds", "3,4")
    assert code == 0, errors
    assert sorted(path.parent.name for path in study.glob("trial-0001/*/summary.json")) == ["seed-3", "seed-4"]
    assert yaml.safe_load((study / "trial-0001/seed-4/config.yaml").read_text())["seed"] == 4
    assert [trial["state"] for trial in trials()] == ["finished"] * 2


@pytest.mark.parametrize(
    ("words", "says"),
    [(("--seed", "7"), "seed 0 -> 7"), (("optimizer.momentum=0.5",), "optimizer.momentum 0.9 -> 0.5")],
)
def test_another_search_under_the_same_name_is_refused(search, words, says):
    search("--trials", 1)
    code, _, errors = search("--trials", 1, *words)
    assert code == 2
    assert "was started with another search (" in errors
    assert says in errors


def test_a_run_s_folder_is_refused(search, study):
    (study / "checkpoints").mkdir(parents=True)
    code, _, errors = search("--trials", 1)
    assert (code, errors) == (
        2,
        f"error: {study} is the folder of a run: choose another name (--name NAME or name=NAME)\n",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
@pytest.mark.slow
def test_a_signal_stops_the_trials_in_75_and_the_search_resumes(files, study, number):
    slow_down(study, 0.02, math.inf)  # until the signal
    words = [*files(), "--trials", 2, "--pruner", "none", "--jobs", 2]
    process = start(words)
    eventually(lambda: len(list(study.glob("trial-*/metrics.jsonl"))) == 2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 75, errors
    assert errors.splitlines()[-1] == f"stopped: run the same command again to resume the search in {study}"
    slow_down(study, 0.02)
    process = start(words)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "2 trials: 2 finished" in output
    assert [path.read_text() for path in study.glob("*/starts")] == ["xx"] * 2


@pytest.mark.slow
def test_killed_and_started_again_it_resumes_the_trial_without_running_it_twice(files, study):
    """The run of a killed search continues and keeps its lock: the next search waits for it, then uses its result."""
    slow_down(study, 0.02, math.inf)  # until the next search has found the run
    words = [*files(), "--trials", 1]
    process = start(words)
    eventually((study / "trial-0000" / "metrics.jsonl").exists)
    process.kill()
    process.communicate()
    process = start(words)
    reported = ""
    while "waiting for 1 trial(s) of other processes" not in reported:
        line = process.stderr.readline()
        assert line, reported
        reported += line
    slow_down(study, 0.02)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "1 trials: 1 finished" in output
    assert (study / "trial-0000" / "starts").read_text() == "x"
    assert not (study / "trial-0000" / "twice").exists()


@pytest.mark.slow
def test_several_processes_work_on_one_study(files, study):
    slow_down(study, 0.1)
    words = [*files(), "--trials", 8, "--pruner", "none"]
    processes = [start(words) for _ in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    found = json.loads((study / "search.json").read_text())["trials"]
    assert [trial["state"] for trial in found] == ["finished"] * 8
    assert [path.read_text() for path in study.glob("trial-*/starts")] == ["x"] * 8
    assert not list(study.glob("trial-*/twice"))


@pytest.mark.parametrize("whose", ["study", "process"])
def test_a_file_stops_all_processes_of_the_study_or_one(files, study, tmp_path, whose):
    slow_down(study, math.inf)  # until the stop
    process = start([*files(), "--trials", 3], JOB_STOP_FILE=str(tmp_path / "mine"))
    eventually(lambda: any(study.glob("trial-*/starts")))
    (study / "stop" if whose == "study" else tmp_path / "mine").touch()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 75, errors


def test_a_line_that_a_killed_process_left_incomplete_does_not_spoil_the_journal(search, study, trials):
    search("--trials", 2)
    with open(study / "journal.log", "a") as journal:
        journal.write('{"op_code":')
    code, _, errors = search("--trials", 3)
    assert code == 0, errors
    assert len(trials()) == 3


@pytest.mark.parametrize(
    ("seeds", "below"), [([3], ["one/trial-7"]), ([3, 4], ["one/trial-7/seed-3", "one/trial-7/seed-4"])]
)
def test_runs_of_a_search_have_mirrors_of_their_own(seeds, below):
    """Trials of two searches have the same names."""
    base = build_config({"mirror": "s3://bucket/runs/"}, "test").model_dump(mode="json")
    folders = [Path("runs") / folder for folder in below]
    study = SimpleNamespace(base=base, folder=Path("runs/one"), run_folders=lambda number: folders)
    claim = SimpleNamespace(values={}, number=7)
    search = SimpleNamespace(study=study, seeds=seeds, permission=False)
    configs = Search._configs(search, claim)
    assert [config.mirrored for config in configs] == [f"s3://bucket/runs/{each}" for each in below]
