"""Comparisons: curves over seeds, a figure and a page."""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from job.__main__ import main
from job.evaluation.curves import mean_curve
from job.evaluation.results.bootstrap import clusters_of
from job.evaluation.results.describe import describe_domain
from job.evaluation.rows import Rows
from job.evaluation.selection import SCORES
from job.monitor.colours import LINES
from job.monitor.figures import comparison, paper, style
from tests.support.finished_runs import run_folder


def test_mean_curve_uses_the_steps_that_all_runs_logged():
    one = [{"trainer/step": 1, "a": 0.2}, {"trainer/step": 2, "a": 0.4}, {"trainer/step": 3, "a": 1.0}]
    two = [{"trainer/step": 1, "a": 0.4}, {"trainer/step": 2, "b": 7.0}, {"trainer/step": 3, "a": 1.0}]
    curve = mean_curve([one, two], "a")
    assert curve.steps == [1, 3]
    assert curve.mean == pytest.approx([0.3, 1.0])
    assert curve.high == pytest.approx([0.3 + np.std([0.2, 0.4], ddof=1), 1.0])
    assert mean_curve([one], "nothing").steps == []


def test_compare_writes_a_figure_and_a_page(tmp_path):
    runs = [("source_only", 0.5), ("dann", 0.7), ("train_on_target", 0.9)]
    for objective, target in runs:
        for seed in (0, 1):
            run_folder(tmp_path / f"{objective}-{seed}", objective, seed, target + 0.02 * seed)
    folders = [str(path) for path in sorted(tmp_path.iterdir())]
    result = CliRunner().invoke(main, ["compare", *folders, "--out", str(tmp_path / "out")], standalone_mode=False)
    assert result.exception is None
    assert "50 %" in result.output
    with Image.open(tmp_path / "out" / "comparison.png") as image:
        assert np.asarray(image.convert("L")).std() > 10
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "<b>50 %</b><span>of the gap closed by dann" in page
    assert "0.7100 \u00b1 0.0141" in page
    assert page.count("<polygon") >= 6  # a band for each objective of two curves
    assert not re.search(r'(?:src|href)="(?!data:)|https?://(?!www\.w3\.org)', page)


def test_axes_of_accuracies_end_at_1_and_no_legend_covers_them(tmp_path, monkeypatch):
    figures = []

    def new_figure(*size):
        figures.append(style.new_figure(*size))
        return figures[-1]

    monkeypatch.setattr(comparison, "new_figure", new_figure)
    monkeypatch.setattr(paper, "new_figure", new_figure)
    results = {
        "class_names": ["joy", "fear"],
        "domains": {role: domain_of([0, 0, 1, 1], [0, 1, 1, 1]) for role in ("source", "target")},
    }
    paper.recalls(results)
    paper.reliability(results)
    spread = {"mean": 0.9, "interval": [0.8, 1.0]}
    runs = [
        {"objective": name, "oracle/test_target_accuracy": 0.9, "oracle/test_target_recall/joy": 0.9}
        for name in ("dann", "mcc")
    ]
    objectives = {name: {"target": spread, "seeds": [0]} for name in ("dann", "mcc")}
    comparison.draw_comparison({"objectives": objectives, "runs": runs}, tmp_path / "comparison.png")
    axes = [each for figure in figures for each in figure.axes]
    assert [each.get_ylim() for each in axes] == [(0, 1)] * 4
    assert not any(each.get_legend() for each in axes)
    assert [len(figure.legends) for figure in figures] == [1, 1, 1]


def domain_of(labels, predicted) -> dict:
    keys = [str(number) for number in range(len(labels))]
    logs = np.log(np.where(np.eye(2)[predicted], 0.9, 0.1)).astype(np.float32)
    return describe_domain(clusters_of([(Rows(keys, np.array(labels), logs), [None] * len(keys))]), ["joy", "fear"])


def test_every_score_has_its_own_colour():
    assert len(set(LINES)) == len(LINES) >= len(SCORES)


def test_run_without_curves_can_be_compared(tmp_path):
    run_folder(tmp_path / "mine", "dann", 0, 0.6)
    (tmp_path / "mine" / "metrics.jsonl").unlink()
    out = tmp_path / "out"
    result = CliRunner().invoke(main, ["compare", str(tmp_path / "mine"), "--out", str(out)], standalone_mode=False)
    assert result.exception is None
    assert "Over the run" not in (out / "comparison.html").read_text()


def compared(tmp_path, runs, images: int = 0) -> tuple[str, dict, str]:
    """Compare runs (objective, seed, target accuracy); return the output, comparison.json and comparison.html."""
    for objective, seed, target in runs:
        run_folder(tmp_path / f"{objective}-{seed}", objective, seed, target, images)
    folders = [str(path) for path in sorted(tmp_path.iterdir())]
    result = CliRunner().invoke(main, ["compare", *folders, "--out", str(tmp_path / "out")], standalone_mode=False)
    assert result.exception is None
    out = tmp_path / "out"
    return result.output, json.loads((out / "comparison.json").read_text()), (out / "comparison.html").read_text()


def test_a_gap_within_noise_has_no_share(tmp_path):
    """With a gap of 0.004 on 500 images, DANN at 0.044 above the lower bound must not close "1100 % of the gap"."""
    runs = [("source_only", 0, 0.7), ("dann", 0, 0.744), ("train_on_target", 0, 0.704)]
    output, comparison, page = compared(tmp_path, runs, images=500)
    assert comparison["gap"]["within_noise"] is True
    assert all(row["gap_closed"] is None for row in comparison["objectives"].values())
    assert "1100" not in output + page
    assert "within noise of 500 test images: shares of it are not reported" in output
    assert "within noise" in page
    assert "0.7440 (0.704 to 0.780)" in output


def test_negative_gap_has_no_share(tmp_path):
    _, comparison, _ = compared(tmp_path, [("source_only", 0, 0.9), ("dann", 0, 0.8), ("train_on_target", 0, 0.5)])
    assert comparison["objectives"]["dann"]["gap_closed"] is None


def test_share_of_the_gap_has_an_interval(tmp_path):
    runs = [("source_only", 0, 0.5), ("dann", 0, 0.7), ("train_on_target", 0, 0.9)]
    output, comparison, page = compared(tmp_path, runs, images=1000)
    low, high = comparison["objectives"]["dann"]["gap_closed_interval"]
    assert 0.39 < low < 0.5 < high < 0.61
    assert f"50 % ({100 * low:.0f} to {100 * high:.0f} %)" in output
    assert "<b>50 %</b><span>of the gap closed by dann" in page
    assert f"{100 * low:.0f} to {100 * high:.0f} %" in page


def test_two_equal_seeds_do_not_look_certain(tmp_path):
    runs = [(name, seed, target) for name, target in (("source_only", 0.5), ("dann", 0.6)) for seed in (0, 1)]
    output, _, page = compared(tmp_path, runs, images=200)
    assert "0.0000" not in output
    assert "\u00b1 0.0000" not in page
    assert "0.6000 (0.531 to 0.665)" in output
    assert "95 % intervals, from 200 labelled target test images and the variation over seeds" in output


def test_comparison_without_target_labels(tmp_path):
    output, comparison, page = compared(tmp_path, [("source_only", 0, None), ("dann", 0, None)], images=100)
    assert comparison["objectives"]["dann"]["target"] is None
    assert "not measured" in output.splitlines()[1]
    assert "no target labels: not measured" in output
    assert "97 % of the target test images are predicted as joy" in output
    assert "no target labels: not measured" in page
    assert "97 % of the target test images are predicted as joy" in page


def test_objectives_are_listed_between_the_two_bounds(tmp_path):
    runs = [("train_on_target", 0, 0.9), ("coral", 0, 0.6), ("adabn", 0, 0.55), ("source_only", 0, 0.5)]
    _, comparison, page = compared(tmp_path, runs, images=1000)
    assert list(comparison["objectives"]) == ["source_only", "adabn", "coral", "train_on_target"]
    assert "of the gap closed by coral" in page
    assert "of the gap closed by source_only" not in page


def test_names_cannot_inject_html(tmp_path):
    name = "<img src=x onerror=alert(1)>"
    run_folder(tmp_path / name, name, 0, 0.6)
    out = tmp_path / "out"
    arguments = ["compare", str(tmp_path / name), "--out", str(out)]
    assert CliRunner().invoke(main, arguments, standalone_mode=False).exception is None
    assert "<img src=x" not in (out / "comparison.html").read_text()
