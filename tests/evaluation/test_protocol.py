"""The transductive protocol: what is refused, and where it is said."""

import json

import numpy as np
import pytest
import yaml

from job.config.load import build_config
from job.evaluation.card import model_card
from job.evaluation.protocol import NOTE
from job.monitor.report.write import write_report
from job.run_folder.run_view import read_run
from job.shards.manifest import load_manifest
from job.system.errors import JobError
from job.train import train
from tests.support.finished_runs import run_folder
from tests.support.reports import report


def transductive(folder, *arguments) -> None:
    run_folder(folder, *arguments)
    content = yaml.safe_load((folder / "config.yaml").read_text()) | {"protocol": "transductive"}
    (folder / "config.yaml").write_text(yaml.safe_dump(content))


def test_runs_of_different_protocols_are_not_compared(job, tmp_path):
    run_folder(tmp_path / "a", "dann", 0, 0.6)
    transductive(tmp_path / "b", "dann", 1, 0.7)
    code, _, errors = job("compare", tmp_path / "a", tmp_path / "b")
    assert code == 2
    assert "protocol=transductive" in errors


def test_a_comparison_says_that_it_is_transductive(job, tmp_path):
    transductive(tmp_path / "a", "dann", 0, 0.6)
    transductive(tmp_path / "b", "source_only", 0, 0.5)
    code, output, errors = job("compare", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out")
    assert code == 0, errors
    assert NOTE in output
    assert NOTE in (tmp_path / "out" / "comparison.html").read_text()
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["protocol"] == "transductive"


def test_training_on_the_labels_of_the_test_is_refused():
    with pytest.raises(JobError, match="would train on the labels of the test"):
        build_config({"protocol": "transductive", "objective": {"name": "train_on_target"}}, "x")


def test_the_protocol_and_the_fold_decide_the_weights_and_old_runs_keep_their_fingerprint():
    plain = build_config({}, "x")
    assert "protocol" not in plain.decisive()
    assert "fold" not in plain.decisive()["data"]
    others = [build_config(content, "x") for content in ({"protocol": "transductive"}, {"data": {"fold": 0}})]
    assert len({config.fingerprint() for config in (plain, *others)}) == 3


def test_the_card_says_so(faces):
    config = build_config({"name": "x", "protocol": "transductive", "data": {"fold": 2}}, "x")
    perfect = report(np.eye(7), range(7))
    card = model_card(config, load_manifest(faces), "c", 1, "test", {"source": perfect, "target": perfect})
    assert f"| protocol | {NOTE}; fold 2 was left out of training |" in card


@pytest.mark.slow
def test_a_transductive_run_says_so_in_its_log_its_files_and_its_report(small, folded):
    """It adapts to the images of all folds and is tested on them, also where labels of the target are only in folds."""
    data = {"shards": str(folded), "fold": 1, "streams": 4}
    config = small(protocol="transductive", data=data, train={"steps": 2, "eval_every": 2})
    assert train(config) == 0
    folder = config.run_folder
    assert NOTE in (folder / "log.txt").read_text()
    assert json.loads((folder / "summary.json").read_text())["protocol"] == "transductive"
    tested = json.loads((folder / "evaluation" / "test.json").read_text())
    assert (tested["protocol"], tested["target"]["labelled"], tested["source"]["labelled"]) == ("transductive", 42, 14)
    evaluated = json.loads((folder / "evaluation" / "step_00000002.json").read_text())
    assert evaluated["target"]["confusion"] is None, "no label of the target is read in training"
    assert NOTE in write_report(read_run(folder)).read_text()
