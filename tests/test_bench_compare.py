"""`make bench`: ratios of a run against the committed ones."""

import json

import pytest

from benchmarks import compare
from benchmarks.compare import BENCHMARKS, COMMITTED, RATIOS, Ratio, values_of

ROWS = {
    "rows": [
        {"backbone": "compact", "decodes": "first pass", "ratio": 1.0},
        {"backbone": "x", "decodes": "y", "ratio": 2},
    ]
}


@pytest.fixture
def folders(tmp_path):
    """`folders(committed, now)`: two folders with a file for each benchmark that has a result."""

    def write(**results):
        for kind, by_name in results.items():
            (tmp_path / kind).mkdir(exist_ok=True)
            for name, result in by_name.items():
                (tmp_path / kind / f"{name}.json").write_text(json.dumps({"result": result}))
        return [f"--{kind}={tmp_path / kind}" for kind in results]

    return write


def test_every_committed_result_of_a_benchmark_has_ratios():
    for name in {*BENCHMARKS} & {path.stem for path in COMMITTED.glob("*.json")}:
        result = compare.read(COMMITTED / f"{name}.json")
        assert any(list(values_of(result, ratio)) for ratio in RATIOS[name]), name


def test_the_rows_of_a_result_are_named():
    ratio = Ratio(("rows", "*", "ratio"), names=("backbone", "decodes"))
    assert dict(values_of(ROWS, ratio)) == {
        "ratio (backbone compact, decodes first pass)": 1.0,
        "ratio (backbone x, decodes y)": 2.0,
    }
    assert list(values_of({"rows": None}, ratio)) == list(values_of({}, Ratio(("a",)))) == []


def test_what_is_worse_than_its_noise_is_printed_and_an_error_on_demand(folders, capsys):
    worse = {"rows": [dict(ROWS["rows"][0], ratio=0.9), dict(ROWS["rows"][1], ratio=1.9)]}
    thread = {"threads": 2, "step": 1.2}
    words = folders(
        committed={"step": ROWS, "loader": {"of_decoder": 0.8, "threads": {"rows": [thread]}}},
        new={"step": worse, "loader": {"of_decoder": 0.7, "threads": {"rows": [dict(thread, step=1.0)]}}},
    )
    assert compare.main([*words, "step", "loader"]) == 0
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith("WORSE")]
    assert lines == [
        "WORSE step: ratio (backbone compact, decodes first pass) is 0.9, and was 1 when it was committed",
        "WORSE loader: of_decoder is 0.7, and was 0.8 when it was committed",
    ]
    assert "loader: step (threads 2)" in printed  # less is better: 1.0 after 1.2
    assert compare.main([*words, "step", "loader", "--fail"]) == 1


def test_results_that_are_missing_or_not_comparable_are_said(folders, capsys):
    words = folders(committed={"step": ROWS, "shards": {"sizes": []}}, new={"step": ROWS, "shards": {}, "loader": {}})
    assert compare.main([*words, "step", "shards", "loader", "--fail"]) == 0
    printed = capsys.readouterr().out
    assert "not compared: shards: both results have no ratio in common" in printed
    assert "not compared: loader has no committed result" in printed
    assert "none of 2 ratios is worse" in printed


def test_benchmarks_are_run_into_a_folder_of_their_own(monkeypatch, folders, capsys):
    (committed,) = folders(committed={"step": ROWS})
    calls = []

    def run(words):
        calls.append(words[1:-1])
        with open(words[-1], "w") as file:
            json.dump({"result": ROWS}, file)
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(compare.subprocess, "run", run)
    assert compare.main([committed, "step", "--fail"]) == 0
    assert calls == [["-m", "benchmarks.step", "--out"]]
    assert "none of 2 ratios is worse" in capsys.readouterr().out
