"""`python -m benchmarks.selection`: the regret of the scores, on run folders made by hand."""

import json

import numpy as np
import pytest

from benchmarks.selection import main
from job.evaluation.ensemble import write_predictions

STEPS = (10, 20, 30)


def run_folder(root, name, method, truth, shards="a" * 8, seed=0, finished=True, data=None, **scores):
    folder = root / name
    folder.mkdir(parents=True)
    config = {"name": name, "seed": seed, "objective": {"name": method}, "data": {"shards": "s", **(data or {})}}
    (folder / "config.yaml").write_text(json.dumps(config))
    (folder / "facts.json").write_text(json.dumps({"manifest": shards}))
    rows = [{"trainer/step": 5, "train/class_loss": 1.0}]
    for i, step in enumerate(STEPS):
        values = {f"selection/{score}": values[i] for score, values in scores.items() if values[i] is not None}
        rows.append({"trainer/step": step, "val/source_accuracy": 0.5, **values})
        if truth is not None:
            rows[-1]["oracle/target_accuracy"] = truth[i]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if finished:
        (folder / "summary.json").write_text("{}")
    return folder


@pytest.fixture
def runs(tmp_path):
    return [
        run_folder(tmp_path, "low", "source_only", (0.5, 0.6, 0.55), infomax=(1, 2, 3), mixval=(0.1, 0.4, 0.2)),
        run_folder(tmp_path, "high", "dann", (0.6, 0.7, 0.9), infomax=(1, 2, 2.5), mixval=(None, 0.8, 0.9)),
    ]


def measured(folders, tmp_path) -> dict:
    out = tmp_path / "regret.json"
    assert main([*map(str, folders), "--out", str(out)]) == 0
    return json.loads(out.read_text())["result"]


def test_regret_within_and_across_runs(runs, tmp_path, capsys):
    result = measured(runs, tmp_path)
    within, across = result["within_run"], result["across_runs"]
    assert within["infomax"]["mean_regret"] == pytest.approx(0.025)  # 0.6 - 0.55 in one run, 0 in the other
    assert within["infomax"]["worst_regret"] == pytest.approx(0.05)
    assert within["mixval"]["mean_regret"] == within["mixval"]["worst_regret"] == 0
    assert within["last checkpoint"]["worst_regret"] == pytest.approx(0.05)
    assert within["mixval"]["rank_correlation"] == pytest.approx(1)  # of `low`; two values of `high` are too few
    assert across["infomax"]["mean_regret"] == pytest.approx(0.9 - 0.55)  # confidently picks the run without adaptation
    assert across["mixval"]["mean_regret"] == 0
    assert list(across) == ["mixval", "infomax"]  # the best first
    assert result["within_run_by_method"]["dann"]["infomax"]["worst_regret"] == 0
    group = result["groups"][0]
    assert (group["runs"], group["checkpoints"], group["best"]["method"]) == (2, 6, "dann")
    assert group["scores"]["infomax"]["accuracy"] == 0.55
    assert "35.00" in capsys.readouterr().out


def test_regret_across_the_configurations_of_a_method_and_among_chosen_checkpoints(tmp_path):
    runs = [
        run_folder(tmp_path, "a", "dann", (0.5, 0.9, 0.6), infomax=(1, 2, 3), mixval=(0.1, 0.9, 0.2)),
        run_folder(tmp_path, "b", "dann", (0.6, 0.7, 0.8), infomax=(1, 2, 2.5), mixval=(0.3, 0.8, 0.7)),
        run_folder(tmp_path, "c", "mcc", (0.3, 0.3, 0.3), infomax=(0, 0, 9), mixval=(0, 0, 0)),
    ]
    result = measured(runs, tmp_path)
    assert result["across_configurations"]["mixval"]["mean_regret"] == 0
    assert result["across_configurations"]["infomax"]["mean_regret"] == pytest.approx(0.9 - 0.6)
    # each dann run chose its last checkpoint by infomax: 0.6 and 0.8; mixval prefers the second of the two
    assert result["chosen_across_configurations"]["mixval"]["mean_regret"] == pytest.approx(0.9 - 0.8)
    assert result["chosen_across_configurations"]["mixval"]["count"] == 1, "mcc has one run: nothing to choose"
    assert result["chosen_across_runs"]["infomax"]["mean_regret"] == pytest.approx(0.9 - 0.3)
    assert result["chosen_across_runs"]["mixval"]["mean_regret"] == pytest.approx(0.9 - 0.8)


def test_runs_of_other_shards_seeds_or_domains_are_not_pooled(runs, tmp_path):
    for name, changes in (
        ("shards", {"shards": "b" * 8}),
        ("seed", {"seed": 1}),
        ("back", {"data": {"source": "target", "target": "source"}}),
    ):
        runs.append(run_folder(tmp_path, name, "dann", (1, 1, 1), infomax=(9, 9, 9), **changes))
    result = measured(runs, tmp_path)
    assert sorted(group["runs"] for group in result["groups"]) == [1, 1, 1, 2]
    assert result["across_runs"]["infomax"]["count"] == 1
    assert result["across_runs"]["infomax"]["mean_regret"] == pytest.approx(0.35)


def test_supervised_unfinished_and_unlabelled_runs_are_skipped(runs, tmp_path, capsys):
    other = [
        run_folder(tmp_path, "upper", "train_on_target", (1, 1, 1), target_accuracy=(1, 1, 1)),
        run_folder(tmp_path, "running", "dann", (1, 1, 1), infomax=(9, 9, 9), finished=False),
        run_folder(tmp_path, "unlabelled", "dann", None, infomax=(9, 9, 9)),
        tmp_path,
    ]
    assert measured(runs + other, tmp_path)["within_run"] == measured(runs, tmp_path)["within_run"]
    told = capsys.readouterr().err
    for folder, reason in zip(
        other, ("trained with target labels", "not finished", "no oracle/target_accuracy", "not a run folder")
    ):
        assert f"{folder} is skipped: " in told
        assert reason in told
    assert main([str(folder) for folder in other]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: no run is left")


def test_other_runs_are_added_to_an_earlier_result(runs, tmp_path):
    """A part and the whole agree where the groups are the same: within the runs."""
    whole = measured(runs, tmp_path)
    measured(runs[:1], tmp_path)
    out = tmp_path / "regret.json"
    assert main([str(runs[1]), "--add", str(out), "--out", str(out)]) == 0
    joined = json.loads(out.read_text())["result"]
    assert joined["runs"] == 2
    assert len(joined["groups"]) == 2, "one of each part"
    for score, row in whole["within_run"].items():
        assert joined["within_run"][score] == pytest.approx(row), score
    assert joined["within_run_by_method"] == whole["within_run_by_method"]
    assert joined["across_runs"] == {}, "each part had one run"


def test_regret_of_the_ensemble_is_measured_among_the_chosen_checkpoints(runs, tmp_path):
    """It picks the run that agrees with most, here a less accurate one; it needs the predictions of all."""
    runs.append(run_folder(tmp_path, "third", "mcc", (0.5, 0.5, 0.6), infomax=(1, 2, 4)))
    for folder, step, classes in zip(runs, (30, 30, 30), ([0, 1, 1], [0, 0, 0], [1, 1, 1]), strict=True):
        assert "ensemble" not in measured(runs, tmp_path)["chosen_across_runs"]
        (folder / "evaluation").mkdir()
        write_predictions(folder, step, np.log(np.eye(2)[classes] * 0.8 + 0.1))
    result = measured(runs, tmp_path)
    assert result["chosen_across_runs"]["ensemble"]["mean_regret"] == pytest.approx(0.9 - 0.55)
    assert result["chosen_across_runs"]["infomax"]["mean_regret"] == pytest.approx(0.9 - 0.6)
    assert "ensemble" not in result["across_runs"]
