"""Outputs that cannot be written: the table is printed anyway, and one line names the missing outputs."""

import errno
import json
import os
import shutil

import pytest
from click.testing import CliRunner

from job.__main__ import main
from job.evaluation import command as evaluation_command
from job.system.errors import JobError
from tests.support.running import REPO

OLD = REPO / "tests" / "support" / "run_of_version_0_1"


def run(*words):
    """The error, if any, and stdout."""
    result = CliRunner().invoke(main, [str(word) for word in words], standalone_mode=False)
    return result.exception, result.stdout


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A run of version 0.1 and its shards, in the working directory."""
    shutil.copytree(OLD, tmp_path / "work", symlinks=True)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def full(monkeypatch):
    """`full(".json")`: from now on no file of that ending gets its name, for lack of space."""

    def fill(*endings):
        replace = os.replace

        def refuse(source, target, **options):
            if str(target).endswith(endings):
                raise OSError(errno.ENOSPC, "No space left on device", str(target))
            replace(source, target, **options)

        monkeypatch.setattr(os, "replace", refuse)

    return fill


def test_evaluate_prints_its_table(work, full):
    full("figures.json", ".md")
    error, said = run("evaluate", "--checkpoint", "old/checkpoints/best", "--out", "figures.json")
    assert isinstance(error, JobError), error
    assert "recall per class" in said
    assert "model card:" not in said
    assert "cannot write figures.json (No space left on device), " in str(error)
    assert "model_card.md (No space left on device): make room" in str(error)
    assert not list(work.glob("*.partial"))


def test_evaluate_tries_each_output(work, full):
    full("figures.json")
    error, said = run("evaluate", "--checkpoint", "old/checkpoints/best", "--out", "figures.json")
    assert isinstance(error, JobError)
    assert "model card:" in said
    assert (work / "old" / "evaluation" / "model_card.md").exists()
    assert evaluation_command  # imported with the command


def finished(folder, name, seed, accuracy):
    path = folder / name
    path.mkdir()
    (path / "config.yaml").write_text(f"name: {name}\nseed: {seed}\nobjective: {{name: dann}}\n")
    summary = {"test/source_accuracy": 0.9, "oracle/test_target_accuracy": accuracy}
    (path / "summary.json").write_text(json.dumps(summary))
    return path


@pytest.mark.parametrize("what", ["a full disk", "a file in place of the folder"])
def test_compare_prints_its_table(tmp_path, full, what):
    runs = [finished(tmp_path, f"run-{seed}", seed, accuracy) for seed, accuracy in enumerate((0.5, 0.6))]
    out = tmp_path / "out"
    if what == "a full disk":
        full(".json")
    else:
        out.write_text("")
    error, said = run("compare", *runs, "--out", out)
    assert isinstance(error, JobError), error
    assert "dann" in said
    assert {"a full disk": "No space left on device", "a file in place of the folder": "cannot make"}[what] in str(
        error
    )


def test_report_draws_the_other_runs(work, full):
    shutil.copytree(work / "old", work / "other", symlinks=True)
    full("old/report.html", "confusion_source.png")
    error, said = run("report", work / "old", work / "other")
    assert isinstance(error, JobError), error
    assert "cannot write" in str(error)
    assert "old/report.html (No space left on device)" in str(error)
    assert f"{work / 'other' / 'report.html'}" in said
    assert not list(work.rglob("*.partial"))


@pytest.mark.slow
def test_export_is_one_line(work, full):
    full(".onnx")
    error, _ = run("export", "--checkpoint", "old/checkpoints/best", "--out", "model.onnx")
    assert isinstance(error, JobError), error
    assert str(error).startswith("cannot write model.onnx (No space left on device): ")
    assert not list(work.glob("model*"))
