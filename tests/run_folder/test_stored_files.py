"""A report is drawn from the intact files; a damaged file is skipped with a warning, without a traceback."""

import json
import shutil

import pytest

from job.__main__ import main
from job.run_folder.run_view import read_run
from job.system.errors import JobError
from tests.support.running import REPO

OLD = REPO / "tests" / "support" / "run_of_version_0_1" / "old"
DAMAGE = {
    "cut": lambda content: content[: len(content) // 2],
    "binary": lambda content: b"\x00\xff\xfe\x80" * 20,
    "nothing": lambda content: b"",
    "a list": lambda content: b"[1, 2]\n",
    "deep": lambda content: b"[" * 100_000,
    "digits": lambda content: b'{"step": ' + b"9" * 5000 + b"}\n",
}


@pytest.fixture
def run(tmp_path):
    """A copy of a run of version 0.1 with everything that a report is drawn from."""
    shutil.copytree(OLD, tmp_path / "old", symlinks=True)
    (tmp_path / "old" / "alerts.jsonl").write_text(
        json.dumps({"trainer/step": 4, "title": "t", "text": "x", "level": "WARN"}) + "\n"
    )
    return tmp_path / "old"


FILES = [
    *("config.yaml", "metrics.jsonl", "status.json", "facts.json", "summary.json", "alerts.jsonl", "wandb/run_id"),
    *("evaluation/step_00000004.json", "evaluation/step_00000008.json", "evaluation/test.json", "figures/sample.npz"),
]


def damage(run, name, kind):
    path = run / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(DAMAGE[kind](path.read_bytes() if path.exists() else b'{"a": 1}'))


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_does_not_keep_a_run_from_being_read(run, name, kind):
    damage(run, name, kind)
    assert read_run(run).config["name"] == "old"


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_does_not_keep_the_report_from_being_drawn(run, name):
    damage(run, name, "binary")
    assert main(["report", str(run)], standalone_mode=False) in (0, None)
    assert (run / "report.html").stat().st_size > 1000


def test_the_configuration_of_a_checkpoint_replaces_a_damaged_one(run, caplog):
    whole = read_run(run).config
    (run / "config.yaml").write_text("name: [")
    assert read_run(run).config == whole
    assert "config.yaml is damaged" in caplog.text
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(JobError, match=r"config.yaml is damaged .* no checkpoint contains a copy: start the run again"):
        read_run(run)


def test_a_damaged_row_is_skipped_in_the_report(run, caplog):
    rows = read_run(run).rows
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(lines[0] + b'{"trainer/step": "four"}\n' + b"".join(lines[1:]))
    assert read_run(run).rows == rows
    assert "metrics.jsonl, line 2: damaged and skipped" in caplog.text


def test_a_value_that_is_not_a_number_is_skipped(run, caplog):
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"trainer/step": 9, "train/class_loss": "high", "schedule/lr": NaN, "schedule/lambda": 0.5}\n')
    assert read_run(run).rows[-1] == {"trainer/step": 9, "schedule/lambda": 0.5}
    assert "values that are not numbers" in caplog.text
