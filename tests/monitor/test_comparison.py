"""Comparisons: curves over seeds, a picture and a page."""

import json
import re

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from job.__main__ import main
from job.evaluation.curves import mean_curve


def run_folder(folder, objective: str, seed: int, target: float) -> None:
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({"objective": {"name": objective}, "seed": seed}))
    summary = {"test/source_accuracy": 0.9, "oracle/test_target_accuracy": target, "oracle/test_target_recall/joy": 0.5}
    (folder / "summary.json").write_text(json.dumps(summary))
    rows = [
        {"trainer/step": step, "oracle/target_accuracy": target * step / 30, "val/source_accuracy": 0.5}
        for step in (10, 20, 30)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_mean_over_seeds_is_taken_where_all_have_a_value():
    one = [{"trainer/step": 1, "a": 0.2}, {"trainer/step": 2, "a": 0.4}, {"trainer/step": 3, "a": 1.0}]
    two = [{"trainer/step": 1, "a": 0.4}, {"trainer/step": 2, "b": 7.0}, {"trainer/step": 3, "a": 1.0}]
    curve = mean_curve([one, two], "a")
    assert curve.steps == [1, 3]
    assert curve.mean == pytest.approx([0.3, 1.0])
    assert curve.high == pytest.approx([0.3 + np.std([0.2, 0.4], ddof=1), 1.0])
    assert mean_curve([one], "nothing").steps == []


def test_the_comparison_is_a_picture_and_a_page_too(tmp_path):
    runs = [("source_only", 0.5), ("dann", 0.7), ("train_on_target", 0.9)]
    for objective, target in runs:
        for seed in (0, 1):
            run_folder(tmp_path / f"{objective}-{seed}", objective, seed, target + 0.02 * seed)
    folders = [str(path) for path in sorted(tmp_path.iterdir())]
    result = CliRunner().invoke(main, ["compare", *folders, "--out", str(tmp_path / "out")], standalone_mode=False)
    assert result.exception is None
    assert "50 %" in result.output
    with Image.open(tmp_path / "out" / "comparison.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "<b>50 %</b><span>of the gap closed by dann" in page
    assert "0.7100 \u00b1 0.0141" in page
    assert page.count("<polygon") >= 6  # a band for each objective of two curves
    assert not re.search(r'(?:src|href)="(?!data:)|https?://(?!www\.w3\.org)', page)


def test_a_method_of_ones_own_without_curves_can_be_compared(tmp_path):
    run_folder(tmp_path / "mine", "dann", 0, 0.6)
    (tmp_path / "mine" / "metrics.jsonl").unlink()
    out = tmp_path / "out"
    result = CliRunner().invoke(main, ["compare", str(tmp_path / "mine"), "--out", str(out)], standalone_mode=False)
    assert result.exception is None
    assert "Over the run" not in (out / "comparison.html").read_text()
