"""The alert and the section of the report about class shares; old evaluation files have none."""

import json

import pytest

from job.evaluation.label_shift.estimate import PREFIX
from job.monitor.label_shift import verdict
from job.monitor.report.write import write_report
from job.monitor.watch import Watch
from job.run_folder.run_view import read_run
from job.run_folder.stored_files import read_evaluation
from job.train import train
from tests.support.running import rows

NAMES = ["joy", "fear", "anger"]
ROW = {"val/source_accuracy": 0.8}


def evaluation(target=(0.6, 0.2, 0.2), half=0.05, error=0.1, corrected=False, trust=0.5):
    source = [0.3, 0.35, 0.35]
    apart = sum(abs(a - b) for a, b in zip(source, target)) / 2
    shares = {"share": list(target), "low": [max(x - half, 0) for x in target], "high": [x + half for x in target]}
    estimate = {"source": source, "target": shares, "black_box": shares, "distance": apart, "target_error": error}
    estimate |= {"distance_low": apart - half, "distance_high": apart + half, "corrected": corrected, "trust": trust}
    counts = {"samples": 100, "confusion": [[30, 0, 0], [0, 35, 0], [0, 0, 35]], "predicted": [34, 33, 33]}
    return {"step": 8, "class_names": NAMES, "source": counts, "target": counts, "label_shift": estimate}


def titles(*evaluations):
    watch = Watch()
    return [alert.title for each in evaluations for alert in watch.look(ROW, each)]


def test_two_evaluations_with_other_shares_raise_an_alert_with_advice():
    apart = evaluation()
    assert titles(apart) == []
    assert titles(apart, apart, apart) == ["label shift"]
    watch = Watch()
    watch.look(ROW, apart)
    (alert,) = watch.look(ROW, apart)
    assert "objective.label_shift=correct" in alert.text
    assert "joy (source 30 %, target 55 to 65 %)" in alert.text


def predicted_apart(**changes):
    """An evaluation whose predictions are as far apart as its estimate, and a row of a network that has learned."""
    content = evaluation(**changes)
    content["target"] = content["target"] | {"confusion": None, "predicted": [600, 200, 200], "samples": 1000}
    row = ROW | {f"val/target_prediction_share/{name}": share for name, share in zip(NAMES, (0.6, 0.2, 0.2))}
    return row, content


@pytest.mark.parametrize(
    ("changes", "raised"),
    [
        ({}, ["label shift"]),
        ({"corrected": True}, []),
        ({"error": 0.5}, ["class shares differ"]),  # wrong predictions may explain it: which of the two, nobody knows
    ],
    ids=["estimated", "corrected", "errors"],
)
def test_other_shares_raise_one_alert(changes, raised):
    watch = Watch()
    pair = predicted_apart(**changes)
    assert [alert.title for _ in range(4) for alert in watch.look(*pair)] == raised


@pytest.mark.parametrize(
    "quiet",
    [
        evaluation(target=(0.35, 0.35, 0.3)),  # a small distance
        evaluation(half=0.4),  # the interval of every class holds the source's share
        evaluation(error=0.3),  # wrong predictions explain it
        evaluation(corrected=True),  # the run corrects it
        evaluation(trust=0.0),  # the estimators disagree
    ],
    ids=["small", "chance", "errors", "corrected", "disagreement"],
)
def test_no_alert_without_a_cause(quiet):
    assert titles(quiet, quiet, quiet) == []
    assert titles(evaluation(), quiet, evaluation()) == []


def test_evaluations_of_version_0_1_have_no_estimate():
    old = evaluation()
    del old["label_shift"]
    assert titles(old, old, old) == []


def test_a_damaged_estimate_is_skipped_with_its_file(tmp_path, caplog):
    for damage in ({"distance": "far"}, {"source": [0.5, 0.5]}, {"target": None}):
        content = evaluation()
        content["label_shift"] |= damage
        (tmp_path / "step.json").write_text(json.dumps(content))
        assert read_evaluation(tmp_path / "step.json") is None
    (tmp_path / "step.json").write_text(json.dumps(evaluation()))
    assert read_evaluation(tmp_path / "step.json") is not None


def test_a_run_logs_the_estimate_and_reports_it(small):
    config = small(name="shown", train={"steps": 8})
    assert train(config) == 0
    last = rows(config)[-1]
    for family in ("target_share", "bbse_share"):
        shares = [value for name, value in last.items() if name.startswith(f"{PREFIX}{family}/")]
        assert len(shares) == 7
        assert sum(shares) == pytest.approx(1)
    assert 0 <= last["label_shift/distance"] <= 1
    assert 0 <= last["label_shift/target_error"] <= 1
    page = write_report(read_run(config.run_folder)).read_text()
    assert "Class shares of the target" in page
    assert "target, MLLS (95 %)" in page
    assert (
        verdict(json.loads((config.run_folder / "evaluation" / "step_00000008.json").read_text())["label_shift"])
        in page
    )


def test_the_verdict_says_how_far_the_shares_are_apart_or_that_this_is_unknown():
    estimate = evaluation()["label_shift"]
    assert verdict(estimate).startswith(
        "30 % of the target would change class to have the source's shares (95 %: 25 to"
    )
    assert verdict(estimate | {"disagreement": 0.5}).startswith(
        "unknown: the estimates by MLLS and by BBSE differ by 50 %"
    )


def test_a_run_that_trains_on_the_target_has_no_estimate(small):
    config = small(name="target", objective={"name": "train_on_target"}, train={"steps": 8})
    assert train(config) == 0
    assert not [name for row in rows(config) for name in row if name.startswith(PREFIX)]
