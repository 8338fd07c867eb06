"""Runs of one method with different settings are compared: each has a row, named by what differs."""

import json

import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from job.__main__ import main
from job.config.load import build_config
from job.config.schema import stored_recipe
from job.evaluation.compare import compare
from job.evaluation.compare_scores import reads_target_labels
from job.evaluation.compare_text import remarks, table
from job.evaluation.doubts import adapts
from job.monitor.figures import comparison as figure
from job.monitor.figures import style
from job.monitor.figures.comparison import LONGEST_LINE, _lines
from job.system.errors import JobError
from tests.support.finished_runs import run_folder


@pytest.fixture
def run(tmp_path):
    def write(name, method="dann", seed=0, target=0.6, *, score=None, also=(), **sections):
        folder = tmp_path / name
        folder.parent.mkdir(exist_ok=True)
        run_folder(folder, method, seed, target, 100)
        config = {"seed": seed, "objective": {"name": method, "also": list(also)}} | sections
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        if score is not None:
            summary = json.loads((folder / "summary.json").read_text()) | {"selection/chosen_step": 30}
            (folder / "summary.json").write_text(json.dumps(summary))
            row = {"trainer/step": 30, "val/source_accuracy": 0.9, "selection/mixval": score}
            (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
        return folder

    return write


def rows(comparison):
    return {name: row["seeds"] for name, row in comparison["objectives"].items()}


def test_two_learning_rates_are_two_rows_and_seeds_stay_together(run):
    runs = [run(f"{lr}-{seed}", seed=seed, optimizer={"lr": lr}) for lr in (0.1, 1e-05, 0.01) for seed in (0, 1)]
    comparison = compare([run("base", "source_only", target=0.5), *runs, run("bound", "train_on_target", target=0.9)])
    assert rows(comparison) == {
        "source_only": [0],
        "dann (optimizer.lr=1e-05)": [0, 1],  # by size, between the bounds
        "dann (optimizer.lr=0.01)": [0, 1],
        "dann (optimizer.lr=0.1)": [0, 1],
        "train_on_target": [0],
    }
    assert comparison["objectives"]["dann (optimizer.lr=0.1)"]["settings"] == {"optimizer.lr": 0.1}
    assert "settings" not in comparison["objectives"]["source_only"]
    assert comparison["objectives"]["dann (optimizer.lr=0.1)"]["gap_closed"] == pytest.approx(0.25)
    assert len({line.index("0.9000") for line in table(comparison).splitlines()[1:6]}) == 1, "columns are aligned"


def test_the_row_is_named_by_every_key_that_differs_or_by_its_first_run(run):
    mild, strong = ({"optimizer": {"lr": lr}, "train": {"steps": steps}} for lr, steps in ((0.1, 5), (0.2, 6)))
    comparison = compare([run("mild", **mild), run("strong", **strong)])
    assert list(rows(comparison)) == [
        "dann (optimizer.lr=0.1, train.steps=5)",
        "dann (optimizer.lr=0.2, train.steps=6)",
    ]
    many = {"model": {"backbone": "resnet18", "dropout": 0.5}}
    comparison = compare([run("a/one", **mild), run("b/one", **strong, **many), run("b/two", seed=1, **strong, **many)])
    first, second = comparison["objectives"]
    assert first == "dann (one)"
    assert second.endswith("b/one)"), "folders of the same name"
    assert rows(comparison)[second] == [0, 1]


def test_a_name_is_not_longer_than_its_table_and_figure_can_show(run):
    """The shares of 65 classes, or a long path."""
    long, short = {"weights": f"runs/{'x' * 80}/checkpoints/best"}, {"weights": "none"}
    assert list(rows(compare([run("one", model=long), run("two", model=short)]))) == [
        "dann (model.weights=none)",
        "dann (one)",
    ]
    assert max(map(len, _lines(f"dann (data.class_shares=[{', '.join(['0.01'] * 65)}])"))) <= LONGEST_LINE
    assert max(map(len, _lines(f"dann ({'x' * 200})"))) <= LONGEST_LINE
    assert _lines("dann (optimizer.lr=0.1, train.steps=5)") == ["dann", "(optimizer.lr=0.1,", "train.steps=5)"]


def test_the_legend_has_settings_below_the_method(run, tmp_path, monkeypatch):
    figures = []

    def new_figure(*size):
        figures.append(style.new_figure(*size))
        return figures[-1]

    monkeypatch.setattr(figure, "new_figure", new_figure)
    runs = [run(f"{value}", optimizer={"lr": value}) for value in (1, 2)]
    figure.draw_comparison(compare(runs), tmp_path / "comparison.png")
    texts = [text.get_text() for text in figures[0].legends[0].get_texts()]
    assert texts == ["dann\n(optimizer.lr=1)", "dann\n(optimizer.lr=2)"]


def test_a_term_a_score_and_a_key_that_one_run_leaves_at_its_default(run):
    terms = [run(f"term-{weight}", also=[{"name": "mcc", "weight": weight}]) for weight in (0.5, 1.0)]
    assert list(rows(compare(terms))) == [
        "dann+mcc (objective.also.0.weight=0.5)",
        "dann+mcc (objective.also.0.weight=1.0)",
    ]
    plain = [run("plain"), run("score", selection={"score": "mixval"}), run("steps", train={"steps": 7})]
    assert set(rows(compare(plain))) == {
        "dann (selection.score=infomax, train.steps=default)",
        "dann (selection.score=infomax, train.steps=7)",
        "dann (selection.score=mixval, train.steps=default)",
    }


def test_the_same_settings_and_seed_twice_are_refused(run):
    """One result would count twice, whether the folder was given twice or copied."""
    one, copy = run("one", optimizer={"lr": 0.1}), run("copy", optimizer={"lr": 0.1})
    other = run("other", optimizer={"lr": 0.2})
    for runs in ([one, other, one], [one, other, copy]):
        with pytest.raises(JobError, match="are both dann with seed 0, with the same settings: remove one"):
            compare(runs)


def test_keys_that_decide_nothing_make_no_row(run):
    """Where the log is written does not change the result; when a checkpoint is evaluated decides which is chosen."""
    harmless = {"train": {"log_every": 5, "keep_last": 3}, "data": {"threads": 8, "shards": "elsewhere"}}
    assert rows(compare([run("a"), run("b", seed=1, **harmless)])) == {"dann": [0, 1]}
    assert len(rows(compare([run("c"), run("d", seed=1, train={"eval_every": 9})]))) == 2


def test_the_number_of_samples_of_the_scores_decides_which_checkpoint_is_chosen(run):
    runs = [run(f"{samples}", evaluation={"probe_samples": samples, "figures": False}) for samples in (100, 1000)]
    assert list(rows(compare(runs))) == [
        "dann (evaluation.probe_samples=100)",
        "dann (evaluation.probe_samples=1000)",
    ]


def test_runs_of_an_earlier_version_are_grouped_with_new_ones():
    content = {"name": "r", "model": {"backbone": "resnet18"}, "data": {"augment": {"flip": False}}}
    new = build_config(content, "test").stored()
    old = json.loads(json.dumps(new))
    del old["optimizer"]["fused"], old["train"]["ema"], old["train"]["tf32"], old["objective"]["also"]
    assert stored_recipe(old) == stored_recipe(new)
    assert stored_recipe(new)["data"]["augment"]["flip"] is False


def test_a_bound_with_several_settings_leaves_no_gap(run):
    bounds = [run(f"base-{lr}", "source_only", target=0.5, optimizer={"lr": lr}) for lr in (0.1, 0.2)]
    comparison = compare([*bounds, run("bound", "train_on_target", target=0.9)])
    assert "gap" not in comparison
    assert "source_only with several settings: no gap is computed; leave out all but one of them" in remarks(comparison)
    assert not any("several" in line for line in remarks(compare(bounds)))


def test_the_baseline_of_a_run_is_the_one_with_its_settings(run):
    good = run("good", "source_only", score=0.9, optimizer={"lr": 0.1})
    poor = run("poor", "source_only", score=0.4, optimizer={"lr": 0.2})
    runs = [run(f"mine-{lr}", score=0.5, optimizer={"lr": lr}) for lr in (0.1, 0.2)]
    for order in ([good, poor], [poor, good]):
        doubts = compare([*order, *runs])["doubts"]
        assert [(each["run"], each["baseline"]) for each in doubts] == [(str(runs[0]), str(good))]


def test_a_run_of_another_network_is_no_baseline(run):
    """Even where fewer keys differ; of the others, one on the same images is nearer than one with other steps."""
    wide = run("wide", "source_only", score=0.9, model={"backbone": "resnet18"})
    flipped = run("flipped", "source_only", score=0.9, model={"backbone": "compact"}, data={"augment": {"flip": True}})
    mine = {"optimizer": {"lr": 0.1}, "train": {"steps": 9}, "model": {"backbone": "compact"}}
    longer = run("longer", "source_only", score=0.8, optimizer={"lr": 0.2}, model={"backbone": "compact"})
    adapted = run("mine", score=0.5, **mine)
    assert compare([wide, adapted])["doubts"] == []
    (doubt,) = compare([wide, flipped, longer, adapted])["doubts"]
    assert doubt["baseline"] == str(longer)
    found = compare([wide, adapted])["objectives"]
    assert [row["network"]["model.backbone"] for row in found.values()] == ["resnet18", "compact"]


def test_the_name_of_a_row_tells_its_method():
    assert reads_target_labels("train_on_target (optimizer.lr=0.1)")
    assert not reads_target_labels("dann+mcc (optimizer.lr=0.1)")
    assert adapts("dann+mcc (optimizer.lr=0.1)")
    assert not adapts("source_only (optimizer.lr=0.1)")


def test_figure_and_page_have_room_for_the_settings(run, tmp_path):
    widths = []
    for key in ("lr", "domain_lr_factor"):
        runs = [run(f"{key}-{value}", optimizer={key: value}) for value in (1, 2)]
        result = CliRunner().invoke(main, ["compare", *map(str, runs), "--out", str(tmp_path / "out")])
        assert result.exit_code == 0, result.output
        assert f"dann (optimizer.{key}=2)" in (tmp_path / "out" / "comparison.html").read_text()
        with Image.open(tmp_path / "out" / "comparison.png") as image:
            widths.append(image.width)
    assert widths[1] > widths[0]
