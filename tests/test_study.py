"""benchmarks.study: what is called, what is reused, what is reported. The runs are files written by hand."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import study, study_draw
from benchmarks.study_results import collect, regret
from benchmarks.study_shifts import SHIFTS


def write_run(folder: Path, target: float, oracle: list[float], chosen: int, milliseconds: float = 10.0) -> None:
    folder.mkdir(parents=True)
    summary = {"test/source_accuracy": 0.9, "oracle/test_target_accuracy": target, "selection/chosen_step": chosen}
    (folder / "summary.json").write_text(json.dumps(summary | {"speed/step_p50_ms": milliseconds}))
    rows = [{"trainer/step": step, "oracle/target_accuracy": value} for step, value in enumerate(oracle, 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def finished(tmp_path):
    """Two seeds of three methods on faces, and the search of one of them."""
    values = {"source_only": (0.5, 0.6, 10.0), "dann": (0.71, 0.79, 25.0), "train_on_target": (0.9, 1.0, 10.0)}
    for method, (one, two, milliseconds) in values.items():
        write_run(tmp_path / f"faces-{method}-0", one, [0.5, 0.6, 0.4], 1, milliseconds)
        write_run(tmp_path / f"faces-{method}-1", two, [0.5, 0.6, 0.4], 2, milliseconds)
    search = tmp_path / "faces-dann-search"
    write_run(search / "trial-0000", 0.1, [0.2, 0.3], 2)
    write_run(search / "trial-0001", 0.1, [0.7, 0.65], 1)
    trials = [{"trial": n, "run": str(search / f"trial-000{n}"), "values": {"optimizer.lr": 0.25}} for n in (0, 1)]
    (search / "search.json").write_text(json.dumps({"best": 0, "trials": trials}))
    return tmp_path


def test_accuracy_gap_regret_and_cost(finished):
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
    assert row["cost"] == 2.5
    assert row["settings"] == {"optimizer.lr": 0.25}
    assert row["regret"] == pytest.approx(0.7 - 0.3), "the best checkpoint of all trials, against the chosen one"
    assert row["regret_of_checkpoints"] == pytest.approx((0.1 + 0) / 2)
    assert rows["source_only"]["regret"] is None
    assert regret([finished / "faces-dann-1"], finished / "faces-dann-1") == 0


def test_the_table_and_the_figure_take_the_place_between_the_marks(finished, tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    page = docs / "methods.md"
    result = {"trials": 2, "shifts": collect(finished, [SHIFTS["faces"]], ["source_only", "dann", "train_on_target"])}
    page.write_text(f"before\n{study_draw.BEGIN}\nold\n{study_draw.END}\nafter\n")
    for _ in range(2):
        study_draw.draw(result, docs)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert text.count("| `dann` | 0.750 \u00b1 0.057 | 2 | 50 % (40 %) | 40.0 | 2.5 | `optimizer.lr=0.25` |") == 1
    assert (docs / "study.svg").read_text().count("<svg") == 1


def test_each_method_has_one_search_and_its_best_is_trained_with_every_seed(monkeypatch, tmp_path, capsys):
    calls = []
    monkeypatch.setattr(study, "_call", lambda command, name: calls.append((name, [str(word) for word in command])))
    monkeypatch.setattr(study, "make_shards", lambda *_: tmp_path / "shards")
    monkeypatch.setattr(study, "is_finished", lambda config: config == "done")
    monkeypatch.setattr(study, "load_config", lambda path, words: "done" if "name=faces-mcc-0" in words else "new")
    words = ["--output", tmp_path, "--out", tmp_path / "study.json", "--trials", 4, "--seeds", 2, "--shifts", "faces"]
    words += ["--only", "mcc/*", "--only", "train_on_target/faces", "--words", "train.steps=3"]
    monkeypatch.setattr(sys, "argv", ["study", *map(str, words)])
    study.main()
    names = [name for name, _ in calls]
    assert names == ["faces-mcc-search", "faces-mcc-1", "faces-train_on_target-0", "faces-train_on_target-1"]
    assert {"objective.name=mcc", "train.steps=3", "--trials", "4"} <= set(calls[0][1])
    assert calls[1][1][:2] == ["launch/local.sh", str(tmp_path / "faces-mcc-search" / "best.yaml")]
    assert calls[2][1][1] == "configs/faces.yaml", "the upper bound is not searched"
    assert json.loads((tmp_path / "study.json").read_text())["result"]["shifts"] == {}
