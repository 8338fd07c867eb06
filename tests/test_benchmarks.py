"""Benchmarks of speed: miniatures run, and results have the figures that they should have. No timing is asserted."""

import json

import pytest
import torch

from benchmarks import gpu


@pytest.mark.slow
def test_the_miniature_of_the_gpu_benchmark_measures_both_precisions(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    out = tmp_path / "gpu.json"
    gpu.main(["--device", "cpu", "--small", "--backbones", "resnet18", "--threads", "1", "--out", str(out)])
    result = json.loads(out.read_text())["result"]
    rows = result["rows"]
    assert [(row["precision"], row["mode"]) for row in rows] == [("no", "eager"), ("bf16", "eager")]
    assert all(row["flops"] == rows[0]["flops"] for row in rows)
    # resnet18 at 64 px: 0.148e9 multiply-adds an image; forward and backward of 4 images, and the heads
    assert 4 * 2 * 2 * 0.148e9 < rows[0]["flops"] < 4 * 2 * 3.2 * 0.148e9
    assert [each["threads"] for each in rows[0]["threads"]] == [1, 2]
    assert "threads" not in rows[1]
    assert all(row["fed"]["images_per_second"] > 0 and 0 <= row["fed"]["data_wait"] <= 1 for row in rows)
    assert result["missing"]
    assert not result["left_out"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_without_a_gpu_the_benchmark_says_so_and_keeps_earlier_figures(tmp_path, capsys):
    out = tmp_path / "gpu.json"
    gpu.main(["--out", str(out)])
    assert capsys.readouterr().out.startswith(gpu.MISSING)
    content = json.loads(out.read_text())
    assert content["result"] == {"rows": [], "missing": gpu.MISSING}
    content["result"]["rows"] = [{"backbone": "resnet18"}]
    out.write_text(json.dumps(content))
    gpu.main(["--out", str(out)])
    assert json.loads(out.read_text()) == content
