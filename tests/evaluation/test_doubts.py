"""Adaptation may have hurt: the checks within a run and against its baseline, on numbers made by hand."""

import json

import pytest

from job.config.load import build_config
from job.evaluation.compare import compare
from job.evaluation.compare_text import remarks
from job.evaluation.doubts import adapts, against_baseline, within_run
from job.monitor.alerts import may_have_hurt
from job.monitor.recorder import Recorder
from job.monitor.report.sections import selection
from job.run_folder.metrics_file import MetricsFile
from job.run_folder.run_view import read_run

# As DANN goes wrong: confidence rises to the end, everything else has its best in the middle.
HARMED = {
    "infomax": (0.4, 0.9, 1.0, 1.1, 1.2),
    "mixval": (0.5, 0.7, 0.72, 0.6, 0.55),
    "class_ami": (0.2, 0.6, 0.62, 0.5, 0.4),
    "source_accuracy": (0.3, 0.86, 0.88, 0.87, 0.87),
}
# A run that gets better. The untrained network mixes best, as measured on the synthetic faces.
HEALTHY = {
    "infomax": (0.4, 0.9, 1.0, 1.1, 1.2),
    "mixval": (0.8, 0.42, 0.41, 0.42, 0.4),
    "class_ami": (0.3, 0.5, 0.47, 0.55, 0.56),
    "source_accuracy": (0.3, 0.84, 0.86, 0.85, 0.85),
}


def rows_of(scores):
    steps = range(100, 100 + 100 * len(scores["infomax"]), 100)
    rows = [{f"selection/{name}": values[i] for name, values in scores.items()} for i in range(len(steps))]
    for row, step in zip(rows, steps):
        row |= {"trainer/step": step, "val/source_accuracy": row["selection/source_accuracy"]}
    return rows


def test_scores_that_fall_while_confidence_rises_speak_against_the_choice():
    step, doubts = within_run(rows_of(HARMED), "infomax")
    assert step == 500
    assert [(one.score, one.value, one.other, one.where) for one in doubts] == [
        ("mixval", 0.55, 0.72, "step 300"),
        ("class_ami", 0.4, 0.62, "step 300"),
    ]
    alert = may_have_hurt(step, "infomax", doubts)
    assert alert.title == "adaptation may have hurt"
    assert "mixval is 0.550 (0.720 at step 300) and class_ami is 0.400" in alert.text
    assert "job compare" in alert.text


@pytest.mark.parametrize(
    "scores",
    [
        HEALTHY,
        HARMED | {"class_ami": (0.2, 0.5, 0.55, 0.5, 0.48)},  # within its noise: one vote is left
        {name: values[:3] for name, values in HARMED.items()},  # chosen at the best of all
        HARMED | {"source_accuracy": (0.3, 0.5, 0.6, 0.7, 0.9)},  # still learning
        {name: HARMED[name] for name in ("infomax", "source_accuracy")},  # a run of an earlier version
    ],
)
def test_no_doubt(scores):
    assert within_run(rows_of(scores), "infomax")[1] == []


def test_a_checkpoint_chosen_at_the_best_of_the_others_is_not_doubted():
    assert within_run(rows_of(HARMED), "mixval") == (300, [])
    assert within_run([], "infomax") == (0, [])
    assert within_run(rows_of({"target_accuracy": (1, 2, 3, 4, 5), **HARMED}), "target_accuracy") == (0, [])


def test_methods_that_read_the_target_without_labels_adapt():
    assert [adapts(name) for name in ("dann", "dann+mcc", "source_only", "train_on_target", "unknown", "")] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


def test_a_score_below_the_baseline_by_more_than_its_margin():
    baseline = {"selection/mixval": 0.7, "selection/class_ami": 0.6, "selection/infomax": 1.5, "selection/snd": 3.0}
    worse = {"selection/mixval": 0.64, "selection/class_ami": 0.1, "selection/infomax": 1.47, "selection/snd": 1.0}
    assert [one.score for one in against_baseline(worse, baseline)] == ["infomax", "mixval"]
    assert [one.score for one in against_baseline({"selection/mixval": 0.64}, baseline)] == ["mixval"]
    assert against_baseline({**worse, "selection/infomax": 1.485, "selection/mixval": 0.66}, baseline) == []
    assert against_baseline(worse, {}) == against_baseline({}, baseline) == []
    assert against_baseline(baseline, worse) == []


def test_infomax_without_a_source_is_not_compared_with_one_that_has_it():
    alone, both = {"selection/infomax": 0.8}, {"selection/infomax": 1.8, "val/source_accuracy": 0.99}
    assert against_baseline(alone, both) == []
    assert [one.score for one in against_baseline(alone, {"selection/infomax": 0.9})] == ["infomax"]


def run_folder(root, name, method, scores, chosen=500, **objective):
    folder = root / name
    (folder / "evaluation").mkdir(parents=True)
    (folder / "config.yaml").write_text(
        json.dumps({"name": name, "seed": 3, "objective": {"name": method, **objective}})
    )
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of(scores)))
    domain = {"samples": 4, "labelled": 4, "confusion": [[2, 0], [0, 2]], "predicted": [2, 2], "mean_entropy": 0.1}
    content = {"class_names": ["a", "b"], "source": domain, "target": domain | {"confusion": None, "labelled": 0}}
    for path, step in (("test", chosen), (f"step_{chosen:08d}", chosen)):
        (folder / "evaluation" / f"{path}.json").write_text(json.dumps(content | {"step": step}))
    summary = {"test/source_accuracy": 0.9, "selection/chosen_step": chosen, "selection/chosen_by": "infomax"}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_compare_says_which_run_is_below_its_baseline(tmp_path):
    baseline = run_folder(tmp_path, "base", "source_only", HARMED | {"mixval": (0.8,) * 5, "class_ami": (0.7,) * 5})
    harmed = run_folder(tmp_path, "harmed", "dann", HARMED)
    comparison = compare([baseline, harmed])
    assert [(each["run"], each["baseline"]) for each in comparison["doubts"]] == [(str(harmed), str(baseline))]
    assert comparison["doubts"][0]["scores"] == {"mixval": [0.55, 0.8]}
    line = next(line for line in remarks(comparison) if "may have hurt" in line)
    assert line.startswith(f"{harmed}: adaptation may have hurt")
    assert "mixval 0.550 against 0.800" in line
    recipe = run_folder(tmp_path, "recipe", "dann", HARMED, also=[{"name": "mcc"}])
    assert [each["run"] for each in compare([baseline, recipe])["doubts"]] == [str(recipe)], "also with terms"
    better = run_folder(tmp_path, "better", "mcd", HARMED | {"mixval": (0.9,) * 5, "class_ami": (0.7,) * 5})
    assert compare([baseline, better])["doubts"] == []


@pytest.mark.parametrize(("scores", "hurt"), [(HARMED, True), (HEALTHY, False)])
def test_the_report_says_so(tmp_path, scores, hurt):
    page = selection(read_run(run_folder(tmp_path, "run", "dann", scores)))
    assert ("Adaptation may have hurt: at step 500, mixval is 0.550" in page) == hurt


@pytest.mark.parametrize(("method", "scores", "hurt"), [("dann", HARMED, 1), ("dann", HEALTHY, 0),
                                                        ("source_only", HARMED, 0)])  # fmt: skip
def test_a_finished_run_raises_the_alert(tmp_path, method, scores, hurt):
    config = build_config({"name": "run", "output": str(tmp_path), "objective": {"name": method},
                           "selection": {"score": "infomax"}, "evaluation": {"figures": False},
                           "wandb": {"mode": "disabled"}}, "test")  # fmt: skip
    folder = run_folder(tmp_path, "run", method, scores)
    metrics = MetricsFile(folder / "metrics.jsonl", 500)
    with Recorder(config, folder, metrics, None, {}) as recorder:
        recorder.result({"test/source_accuracy": 0.9})
        recorder.end(0)
    path = folder / "alerts.jsonl"
    alerts = [json.loads(line)["title"] for line in path.read_text().splitlines()] if path.exists() else []
    assert alerts.count("adaptation may have hurt") == hurt
