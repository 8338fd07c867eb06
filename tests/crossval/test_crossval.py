"""`python -m job crossval`: plan, work, results."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from job.config.load import load_config
from job.crossval.command import _check
from job.crossval.plan import Cell, Plan, make_plan
from job.crossval.predictions import check_shards
from job.crossval.results import results_of
from job.crossval.text import as_markdown, as_text
from job.evaluation.predictions import Predictions
from job.evaluation.protocol import NOTE
from job.evaluation.rows import Rows
from job.many_runs.launcher import Launcher
from job.shards.manifest import Manifest
from job.system.errors import JobError
from job.train import train

CLASSES = ("joy", "fear")


@pytest.fixture
def path(small, folded, tmp_path):
    """A configuration file of short runs on the shards in folds."""
    config = small(data={"shards": str(folded)}, train={"steps": 2, "eval_every": 2, "log_every": 2})
    path = tmp_path / "short.yaml"
    path.write_text(yaml.safe_dump(config.stored() | {"name": "short"}))
    return path


@pytest.fixture
def trained(monkeypatch):
    """Runs are trained in this process; returns the names of those started. `codes` are exit codes of the first."""
    started, codes = [], []

    def start(self, config, slot, lock):
        started.append(config.name)
        path = config.run_folder / "config.yaml"
        path.write_text(config.to_yaml())
        code = codes.pop(0) if codes else train(load_config(path))
        return SimpleNamespace(poll=lambda: code, send_signal=lambda number: None)

    monkeypatch.setattr(Launcher, "start", start)
    monkeypatch.setattr("job.crossval.command.count_gpus", lambda: 0)
    monkeypatch.setattr("job.crossval.work._POLL_SECONDS", 0.0)
    return SimpleNamespace(started=started, codes=codes)


@pytest.mark.slow
def test_stopped_and_started_again_it_trains_the_rest_and_measures_all(job, path, trained, tmp_path):
    trained.codes.append(75)
    words = ["crossval", path, "--folds", 3, "--methods", "source_only,dann"]
    code, _, errors = job(*words)
    assert code == 75, errors
    assert trained.started == ["source_only-fold-0-seed-5"]
    code, output, errors = job(*words)
    assert code == 0, errors
    assert len(trained.started) == 1 + 6
    folder = tmp_path / "runs" / "short-crossval"
    results = json.loads((folder / "crossval.json").read_text())
    for method in ("source_only", "dann"):
        target = results["methods"][method]["target"]
        assert (target["images"], target["predictions"], target["clusters"]["subjects"]) == (42, 42, 6)
        own = [run for run in results["runs"] if run["method"] == method]
        for run, fold in zip(own, target["by_fold"], strict=True):
            summary = json.loads((folder / f"{method}-fold-{run['fold']}-seed-5" / "summary.json").read_text())
            assert run["target"] == fold["accuracy"] == pytest.approx(summary["oracle/test_target_accuracy"])
        assert target["accuracy"]["value"] == pytest.approx(np.mean([run["target"] for run in own]))
    assert "dann - source_only" in output
    code, again, _ = job(*words)
    assert code == 0
    assert output.endswith(again), "finished runs are not trained again, and their predictions are kept"
    assert len(trained.started) == 7
    code, shown, errors = job(*words, "--report", "data.shards=/nowhere")
    assert code == 0, errors
    assert shown == again, "on a machine without the shards"
    facts = [folder / f"{method}-fold-1-seed-5" / "facts.json" for method in ("dann", "source_only")]
    kept = facts[0].read_text()
    facts[0].write_text('{"manifest": "another"}')
    code, _, errors = job(*words, "--report")
    assert code == 2
    assert "dann-fold-1-seed-5 was trained on other shards than" in errors, "than source_only on this fold"
    facts[1].write_text('{"manifest": "another"}')
    (facts[0].parent / "evaluation" / "test_rows.npz").unlink()
    code, _, errors = job(*words, "--report")
    assert code == 2
    assert "restore those" in errors, "its predictions cannot be computed again"
    for each in facts:
        each.write_text(kept)
    (folder / "dann-fold-2-seed-5" / "summary.json").unlink()
    code, _, errors = job(*words, "--report")
    assert code == 2
    assert "1 of 6 runs" in errors


def test_a_run_that_fails_ends_it_with_the_reason(job, path, trained):
    trained.codes.append(2)
    code, _, errors = job("crossval", path)
    assert code == 2
    assert "dann-fold-0-seed-5 ended with exit code 2" in errors


def test_a_report_reads_no_shards(path, tmp_path):
    """The number of folds is in the results; before the first results only the shards have it."""
    words = ["data.shards=/nowhere"]
    with pytest.raises(JobError, match="no shards at /nowhere"):
        make_plan(path, words, report=True)
    folder = tmp_path / "runs" / "short-crossval"
    folder.mkdir(parents=True)
    for damaged in ('"3"', "[3]", "true", "-3"):
        (folder / "crossval.json").write_text(f'{{"folds": {damaged}}}')
        with pytest.raises(JobError, match="no shards at /nowhere"):
            make_plan(path, words, report=True)
    (folder / "crossval.json").write_text('{"folds": 3}')
    plan = make_plan(path, words, report=True)
    assert [cell.fold for cell in plan.cells] == [0, 1, 2]
    with pytest.raises(JobError, match="has 3 folds"):
        make_plan(path, words, folds=5, report=True)
    with pytest.raises(JobError, match="no shards at /nowhere"):
        make_plan(path, words)


def test_the_plan_has_every_method_fold_and_seed(path):
    plan = make_plan(path, [], folds=3, seeds=[1, 2], methods=["source_only", "dann+mcc"])
    assert len(plan.cells) == 2 * 3 * 2
    assert [(cell.method, cell.fold, cell.seed) for cell in plan.cells[:3]] == [
        ("source_only", 0, 1),
        ("dann+mcc", 0, 1),
        ("source_only", 1, 1),
    ]
    last = plan.cells[-1].config
    assert (last.data.fold, last.seed, last.name) == (2, 2, "dann+mcc-fold-2-seed-2")
    assert last.objective.also[0].name == "mcc"
    assert (last.wandb.group, last.evaluation.figures) == ("short-crossval", False)
    assert len({cell.manifest for cell in plan.cells}) == 3
    assert make_plan(path, ["evaluation.figures=true"]).cells[0].config.evaluation.figures


@pytest.mark.parametrize(
    ("words", "folds", "message"),
    [
        (["seed=3"], None, "seed differs from run to run"),
        (["data.fold=1"], None, "data.fold differs from run to run"),
        ([], 4, "has 3 folds: give --folds 3"),
        (["mcc"], None, "mcc is not key.sub=value: to name methods or seeds, put --methods dann mcc"),
    ],
)
def test_what_the_cross_validation_varies_cannot_be_set(path, words, folds, message):
    with pytest.raises(JobError, match=message):
        make_plan(path, words, folds=folds)


def test_shards_without_folds_are_refused(path, faces):
    with pytest.raises(JobError, match="not in folds: write the shards again with --option folds=5"):
        make_plan(path, [f"data.shards={faces}"])


def test_a_target_without_labels_is_reported_before_the_first_run(path, monkeypatch, capsys):
    plan = make_plan(path, [], methods=["source_only", "dann"])
    _check(plan, SimpleNamespace(ranks=1))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(Manifest, "labelled", lambda self, domain, split: domain == plan.cells[0].config.data.source)
    _check(plan, SimpleNamespace(ranks=1))
    captured = capsys.readouterr()
    assert (captured.out + captured.err).count("warning: the target has no labels") == 1


def test_runs_of_a_fold_were_trained_on_the_same_shards(path):
    plan = make_plan(path, [], methods=["source_only", "dann"])
    shards = {(cell.method, cell.fold): f"fold-{cell.fold}" for cell in plan.cells}

    def store(changes):
        for cell in plan.cells:
            cell.folder.mkdir(parents=True, exist_ok=True)
            content = {"manifest": (shards | changes)[cell.method, cell.fold]}
            (cell.folder / "facts.json").write_text(json.dumps(content))

    store({})
    check_shards(plan.cells)
    store({("dann", 2): None})  # facts.json of an earlier version
    check_shards(plan.cells)
    store({("dann", 2): "rewritten"})
    with pytest.raises(JobError, match=r"dann-fold-2-seed-5 was trained on other shards than .*source_only-fold-2"):
        check_shards(plan.cells)


def measured(protocol="held_out", labels=(0, 1)):
    """Two methods, two folds, two seeds; 10 people of 4 images a fold. The second method is right twice as often."""
    cells = []
    for seed in (0, 1):
        for fold in (0, 1):
            for method, right in (("source_only", 1), ("dann", 2)):
                truth = np.tile(labels, 20)
                predicted = np.where(np.arange(40) % 4 < right, truth, 1 - truth) % 2
                keys = [f"{fold}-{i}" for i in range(40)]
                rows = Rows(keys, truth, np.log(np.where(np.eye(2)[predicted] > 0, 0.9, 0.1)).astype(np.float32))
                subjects = [f"p{fold}-{i // 4}" for i in range(40)]
                each = Predictions(rows, subjects, CLASSES, protocol, ("x",))
                cells.append(
                    (Cell(method, fold, seed, SimpleNamespace(run_folder="r"), "m"), {"source": each, "target": each})
                )
    plan = Plan("f", [cell for cell, _ in cells], ["source_only", "dann"], 2, [0, 1], protocol)
    return plan, cells


def test_results_count_each_subject_once():
    results = results_of(*measured())
    target = results["methods"]["dann"]["target"]
    assert target["accuracy"] == {"value": pytest.approx(0.5), "interval": pytest.approx([0.5, 0.5])}
    assert (target["images"], target["predictions"], target["clusters"]["subjects"]) == (80, 160, 20)
    assert target["by_fold"] == [{"images": 40, "subjects": 10, "accuracy": 0.5}] * 2
    assert target["by_seed"] == {"0": 0.5, "1": 0.5}
    assert results["differences"]["dann"] == {"minus": "source_only", "value": 0.25, "interval": [0.25, 0.25]}
    text = as_text(results)
    assert "80 target images, each predicted 2 times" in text
    assert "bootstrap of 20 subjects" in text
    assert "dann - source_only  +0.250 (+0.250 to +0.250)" in text
    assert "| fear | 0.000" in as_markdown(results, "x")


def test_every_table_of_a_transductive_cross_validation_says_so():
    results = results_of(*measured("transductive"))
    assert NOTE in as_text(results)
    assert NOTE in as_markdown(results, "x")
    assert results["protocol"] == "transductive"


def test_without_labels_of_the_target_nothing_is_claimed():
    results = results_of(*measured(labels=(-1, -1)))
    assert results["methods"]["dann"]["target"] is None
    assert results["differences"] == {}
    assert "not measured" in as_text(results)


def test_runs_of_a_cross_validation_have_mirrors_of_their_own(path):
    cells = make_plan(path, ["mirror=s3://bucket/runs/"]).cells
    assert {cell.config.mirrored for cell in cells} == {
        f"s3://bucket/runs/{cell.folder.parent.name}/{cell.folder.name}" for cell in cells
    }
