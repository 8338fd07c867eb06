"""Benchmarks of speed: miniatures run, and results have the figures that they should have. No timing is asserted."""

import json

import pytest
import torch

from benchmarks import gpu, memory, scaling, scaling_model
from job.shards.manifest import load_manifest
from job.vocabulary import DOMAINS


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


def test_the_memory_of_both_kinds_of_ranks_is_measured(tmp_path):
    out = tmp_path / "memory.json"
    memory.main(["--samples", "20000", "--out", str(out)])
    rows = json.loads(out.read_text())["result"]["rows"]
    assert [(row["samples"], row["rank"]) for row in rows] == [(20000, "first"), (20000, "other")]
    assert rows[0]["shards"] == 2 * 20
    assert all(0 <= row["private"] < 1000 and row["before"] > 50 for row in rows)


def test_a_manifest_of_the_memory_benchmark_has_the_samples_that_it_says(tmp_path):
    manifest = load_manifest(memory.write_manifest(tmp_path, 2500))
    assert [manifest.samples(domain, "train") for domain in DOMAINS] == [2500, 2500]
    assert sum(manifest.class_counts("source", "train")) == 2500


def test_the_model_of_many_gpus_grows_with_nodes_and_hides_what_the_backward_pass_covers():
    gradient, link = 100 * 2**20, 50e9
    waits = [scaling_model.exposed_seconds(gpus, gradient, 0.1, link) for gpus in scaling_model.GPUS]
    assert waits == sorted(waits)
    assert waits[0] < waits[-1]
    alone = scaling_model.exposed_seconds(64, gradient, 0.0, link)  # nothing is hidden: all four buckets count
    assert alone == pytest.approx(4 * scaling_model.exposed_seconds(64, gradient, 10.0, link))
    assert scaling_model.exposed_seconds(64, gradient, 0.0, link / 10) > 2 * alone


def test_the_model_takes_the_time_of_a_step_from_the_figures_of_a_gpu(tmp_path):
    row = {"backbone": "resnet50", "size": 224, "images_per_domain": 64, "precision": "bf16", "step_ms": 40.0}
    rows = [row | {"mode": "eager"}, row | {"mode": "compiled", "step_ms": 20.0}]
    rows.append(row | {"mode": "eager", "backbone": "vit_b_16", "size": 64})
    path = tmp_path / "gpu.json"
    assert scaling_model.measured_compute(path) == {}
    path.write_text(json.dumps({"result": {"rows": rows}}))
    assert scaling_model.measured_compute(path) == {"resnet50": 0.04}


def test_the_share_of_communication_is_what_the_exchange_adds():
    row = scaling.row_of(2, [(0.5, 0.4), (0.4, 0.4), (1.0, 0.25)], images=10)
    assert row["communication"] == pytest.approx(0.2)
    assert row["images_per_second"] == pytest.approx(2 * 10 * 2 / 0.5)
    assert scaling.row_of(1, [(0.5, 0.4)], images=10)["communication"] == 0
