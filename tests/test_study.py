"""benchmarks.study: what is called, what is reused, what is reported. The runs are files written by hand."""

import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks import study, study_draw, study_runs
from benchmarks.study_results import collect, join, regret
from benchmarks.study_shifts import SHIFTS
from job.config.load import build_config, load_config


def write_run(folder: Path, target: float, oracle: list[float], chosen: int) -> None:
    folder.mkdir(parents=True)
    summary = {"test/source_accuracy": 0.9, "oracle/test_target_accuracy": target, "selection/chosen_step": chosen}
    (folder / "summary.json").write_text(json.dumps(summary))
    rows = [{"trainer/step": step, "oracle/target_accuracy": value} for step, value in enumerate(oracle, 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def finished(tmp_path):
    """Two seeds of three methods on faces; of dann the search, whose best trial is the run of seed 0."""
    for method, (one, two) in {"source_only": (0.5, 0.6), "dann": (0.0, 0.79), "train_on_target": (0.9, 1.0)}.items():
        if method != "dann":
            write_run(tmp_path / f"faces-{method}-0", one, [0.5, 0.6, 0.4], 1)
        write_run(tmp_path / f"faces-{method}-1", two, [0.5, 0.6, 0.4], 2)
    search = tmp_path / "faces-dann-search"
    write_run(search / "trial-0000", 0.45, [0.2, 0.8], 2)
    write_run(search / "trial-0001", 0.71, [0.7, 0.65], 1)
    trials = [{"trial": n, "run": f"elsewhere/trial-000{n}", "values": {"optimizer.lr": 0.25}} for n in (0, 1)]
    (search / "search.json").write_text(json.dumps({"best": 1, "trials": trials}))
    return tmp_path


def test_accuracy_gap_and_regret(finished):
    found = collect(
        finished, [SHIFTS["faces"], SHIFTS["mnist-usps"]], ["source_only", "dann", "mcc", "train_on_target"]
    )
    assert list(found) == ["faces"], "a shift without runs is left out"
    rows = found["faces"]["methods"]
    assert list(rows) == ["source_only", "dann", "train_on_target"]
    row = rows["dann"]
    assert row["target"] == [0.71, 0.79]
    assert row["gap_closed"] == pytest.approx((0.75 - 0.55) / (0.95 - 0.55))
    assert row["gap_closed_lowest"] == pytest.approx((0.71 - 0.55) / (0.95 - 0.55))
    assert row["as_configured"] == 0.45, "of the first trial"
    assert row["settings"] == {"optimizer.lr": 0.25}
    assert row["regret"] == pytest.approx(0.8 - 0.7), "the best checkpoint of all trials, against the chosen one"
    assert row["regret_of_checkpoints"] == pytest.approx(0)
    assert rows["source_only"]["regret"] is None
    assert rows["source_only"]["regret_of_checkpoints"] == pytest.approx((0.1 + 0) / 2)
    assert regret([finished / "faces-dann-1"], finished / "faces-dann-1") == 0


def test_a_part_is_added_to_the_result_of_other_runs(finished):
    def part(*methods):
        return collect(finished, [SHIFTS["faces"]], methods)

    bounds, adapted = part("source_only", "train_on_target"), part("dann")
    assert "gap_closed" not in adapted["faces"]["methods"]["dann"], "its bounds are not among these"
    assert join(bounds, adapted) == part("source_only", "train_on_target", "dann")
    assert list(join(bounds, adapted)["faces"]["methods"]) == ["source_only", "dann", "train_on_target"]
    assert join({}, bounds) == join(bounds, {}) == join(bounds, bounds) == bounds
    more = part("dann")
    more["faces"]["methods"]["dann"] |= {"seeds": [3], "target": [0.9], "regret": None, "as_configured": None}
    row = join(adapted, more)["faces"]["methods"]["dann"]
    assert (row["seeds"], row["target"]) == ([0, 1, 3], [0.71, 0.79, 0.9])
    assert row["target_mean"] == pytest.approx(0.8)
    assert (row["as_configured"], row["regret"]) == (0.45, pytest.approx(0.1)), "only the earlier result has them"
    more["faces"]["methods"]["dann"]["settings"] = {"optimizer.lr": 1.0}
    assert join(adapted, more)["faces"]["methods"]["dann"]["seeds"] == [3], "other settings: another result"


def test_the_table_and_the_figure_take_the_place_between_the_marks(finished, tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    page = docs / "methods.md"
    result = {"trials": 2, "shifts": collect(finished, [SHIFTS["faces"]], ["source_only", "dann", "train_on_target"])}
    page.write_text(f"before\n{study_draw.BEGIN}\nold\n{study_draw.END}\nafter\n")
    for _ in range(2):
        study_draw.draw(result, {"faces": {"dann": {"cost": 2.5}}}, docs)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert (
        text.count("| `dann` | 0.750 \u00b1 0.057 | 2 | 50 % (40 %) | 10.0 | 2.5 | 0.450 | `optimizer.lr=0.25` |") == 1
    )
    assert (docs / "study.svg").read_text().count("<svg") == 1


def test_the_text_of_the_figure_can_be_read_in_the_width_of_a_page(finished, tmp_path):
    shift = collect(finished, [SHIFTS["faces"]], ["source_only", "dann", "train_on_target"])["faces"]
    study_draw.draw_figure({"shifts": dict.fromkeys("abcde", shift)}, tmp_path / "study.svg")
    svg = (tmp_path / "study.svg").read_text()
    width = float(re.search(r'viewBox="0 0 ([0-9.]+) ', svg)[1])
    sizes = {float(size) for size in re.findall(r"font-size: ([0-9.]+)px", svg)}
    assert min(sizes) * 800 / width >= 12, "pixels on a page on GitHub, which is 800 wide"


def call(monkeypatch, tmp_path, *words):
    """Call the program with fake searches and runs; return their names in order, and the result."""
    calls = []

    def search(config, space, words, *, trials, name, **_):
        calls.append((name, config, trials, words))
        return 0

    def train(config, words, start):
        calls.append((next(word for word in words if word.startswith("name=")), config, 0, words))
        return 0

    monkeypatch.setattr(study, "search", search)
    monkeypatch.setattr(study, "train", train)
    monkeypatch.setattr(study, "launcher", lambda jobs: None)
    monkeypatch.setattr(study, "make_shards", lambda *_: tmp_path / "shards")
    monkeypatch.setattr(study, "is_finished", lambda config: config == "done")
    monkeypatch.setattr(study, "load_config", lambda path, words: "done" if "name=faces-mcc-1" in words else "new")
    words = ["--output", tmp_path, "--out", tmp_path / "study.json", *words]
    monkeypatch.setattr(sys, "argv", ["study", *map(str, words)])
    study.main()
    return calls, json.loads((tmp_path / "study.json").read_text())["result"]


def test_each_method_has_one_search_whose_best_trial_is_the_run_of_seed_0(monkeypatch, tmp_path):
    words = ["--trials", 4, "--seeds", 3, "--shifts", "faces", "mnist-usps", "--words", "train.steps=3"]
    words += ["--only", "mcc/*", "--only", "train_on_target/faces"]
    calls, result = call(monkeypatch, tmp_path, *words)
    names = [name.removeprefix("name=") for name, *_ in calls]
    assert names == [
        *("faces-mcc-search", "faces-train_on_target-0", "mnist-usps-mcc-search"),
        *("faces-train_on_target-1", "mnist-usps-mcc-1"),  # faces-mcc-1 is finished
        *("faces-mcc-2", "faces-train_on_target-2", "mnist-usps-mcc-2"),
    ]
    _, config, trials, given = calls[0]
    assert (config, trials) == (Path("configs/faces.yaml"), 4)
    assert {"objective.name=mcc", "seed=0", "train.steps=3"} <= set(given)
    assert calls[1][1] == Path("configs/faces.yaml"), "the upper bound is not searched"
    assert calls[5][1] == tmp_path / "faces-mcc-search" / "best.yaml"
    assert result["shifts"] == {}


def test_without_trials_the_configuration_is_trained_unchanged_and_collect_trains_nothing(monkeypatch, tmp_path):
    words = ["--trials", 0, "--shifts", "faces", "--methods", "source_only", "mcc", "--seeds"]
    calls, _ = call(monkeypatch, tmp_path, *words, 1)
    assert [name for name, *_ in calls] == ["name=faces-source_only-0", "name=faces-mcc-0"]
    for seeds in (["0,2"], [0, 2]):
        more = call(monkeypatch, tmp_path, *words, *seeds)[0]
        assert [name for name, *_ in more] == [
            *("name=faces-source_only-0", "name=faces-mcc-0", "name=faces-source_only-2", "name=faces-mcc-2"),
        ]
    assert {config for _, config, *_ in calls} == {Path("configs/faces.yaml")}
    assert call(monkeypatch, tmp_path, *words, 1, "--collect")[0] == []


def test_a_fork_runs_the_job_and_reports_how_it_ended(monkeypatch, tmp_path):
    config = build_config({"name": "one", "output": str(tmp_path)}, "test")
    begun = []
    monkeypatch.setattr("job.train.train", lambda config: print("trained", config.name) or 75)
    monkeypatch.setattr(study_runs, "_SLOW", ())
    start = study_runs.ForkLauncher(1, 0)
    assert start.start(config, 0, 0).wait() == 75
    assert (config.run_folder / "output.txt").read_text() == "trained one\n"
    assert load_config(config.run_folder / "config.yaml", []) == config
    monkeypatch.setattr("job.train.train", lambda config: begun.append(1 / 0))
    assert start.start(config, 0, 0).wait() == 1
    assert "ZeroDivisionError" in (config.run_folder / "output.txt").read_text()
