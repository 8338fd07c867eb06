"""`python -m benchmarks.doubts`: what the signs of harm catch, on run folders made by hand."""

import json

import pytest

from benchmarks.doubts import main
from tests.test_selection_regret import run_folder

FLAT = {"source_accuracy": (0.9, 0.9, 0.9)}


def folders(tmp_path):
    return [
        run_folder(tmp_path, "weak", "source_only", (0.1, 0.1, 0.1), class_ami=(0, 0, 0), source_accuracy=(0, 0, 0)),
        run_folder(tmp_path, "base", "source_only", (0.7, 0.7, 0.7), class_ami=(0.6, 0.6, 0.6), **FLAT),
        run_folder(tmp_path, "harmed", "dann", (0.8, 0.7, 0.5), infomax=(1, 2, 3), class_ami=(0.6, 0.5, 0.4), **FLAT),
        run_folder(tmp_path, "level", "mcc", (0.6, 0.6, 0.69), infomax=(1, 2, 3), class_ami=(0.6, 0.6, 0.65), **FLAT),
        run_folder(tmp_path, "better", "cdan", (0.6, 0.8, 0.9), infomax=(1, 2, 3), class_ami=(0.6, 0.7, 0.58), **FLAT),
        run_folder(tmp_path, "alone", "dann", (0.6, 0.8, 0.9), seed=1, infomax=(1, 2, 3), class_ami=(0, 0, 0), **FLAT),
    ]


def test_each_adapted_run_is_compared_with_the_best_source_only_by_source_accuracy(tmp_path, capsys):
    out = tmp_path / "doubts.json"
    assert main([*map(str, folders(tmp_path)), "--out", str(out)]) == 0
    result = json.loads(out.read_text())["result"]
    assert (result["runs"], result["harmed"], result["clearly_harmed"]) == (3, 2, 1), "one has no source_only beside it"
    gains = {row["run"].rpartition("/")[2]: row["gain"] for row in result["rows"]}
    assert gains == {"harmed": pytest.approx(-0.2), "level": pytest.approx(-0.01), "better": pytest.approx(0.2)}
    alone = result["scores"]["class_ami"]
    assert alone["below_by"]["0.1"] == {"caught": 1, "caught_clear": 1, "false_alarms": 0}
    assert alone["below_by"]["0.01"] == {"caught": 1, "caught_clear": 1, "false_alarms": 1}
    assert alone["separation"] == pytest.approx(0.5)  # harmed is below better, level is above it
    assert "infomax" not in result["scores"], "source_only has none here"
    assert "3 adapted runs, 2 below source_only, 1 clearly" in capsys.readouterr().out


def test_without_a_baseline_there_is_nothing_to_measure(tmp_path, capsys):
    assert main([str(folders(tmp_path)[-1])]) == 2
    assert "no adapted run has a run of source_only" in capsys.readouterr().err
