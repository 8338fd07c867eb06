"""Benchmarks of speed: miniatures run, and results have the figures that they should have. No timing is asserted."""

import json
import subprocess
import sys

import numpy as np
import pytest
import simplejpeg
import torch

from benchmarks import bare_decoder, common, gpu, loader, memory, photos, scaling, scaling_model, stop
from job.shards.manifest import load_manifest
from job.vocabulary import DOMAINS
from tests.support.running import REPO


@pytest.mark.slow
def test_the_miniature_of_the_gpu_benchmark_measures_both_precisions_without_wandb_and_webdataset(tmp_path):
    out = tmp_path / "gpu.json"
    words = ["--device", "cpu", "--small", "--backbones", "resnet18", "--threads", "1", "--out", str(out)]
    code = "import sys; sys.modules |= dict.fromkeys(('wandb', 'webdataset')); from benchmarks import gpu; gpu.main()"
    subprocess.run([sys.executable, "-c", code, *words], cwd=REPO, check=True, capture_output=True)
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


@pytest.mark.slow
def test_the_miniature_of_the_loader_benchmark_measures_the_limit_and_the_threads(tmp_path, capsys):
    out = tmp_path / "loader.json"
    loader.main(["--small", "--out", str(out)])
    result = json.loads(out.read_text())["result"]
    assert result["images_per_core_second"]["decoder"] >= max(result["decoder_by_buffer"].values()) > 0
    assert [row["threads"] for row in result["threads"]["rows"]] == [1, 2]
    assert all(row["images_per_second"] > 0 and row["step_ms"] > 0 for row in result["threads"]["rows"])
    assert "simplejpeg alone" in capsys.readouterr().out


def test_the_limit_is_the_fastest_buffer_and_what_is_above_it_is_named(monkeypatch):
    rates = {name: [(100.0, 90.0), (50.0, 45.0)] for name in loader.NAMES}
    result = loader.summarise(rates, {"a batch, aligned": 100.0}, [b"1234"])
    assert (result["of_decoder"], result["above_limit"]) == (1.0, [])
    rates["ours"] = [(126.0, 90.0), (63.0, 45.0)]  # 1.26 of it in both turns
    result = loader.summarise(rates, {"a batch, aligned": 100.0}, [b"1234"])
    assert (result["of_decoder"], result["above_limit"]) == (1.26, ["ours"])
    assert loader.summarise(rates | {"decoder": [(128.0, 90.0), (64.0, 45.0)]}, {}, [b"1"])["above_limit"] == []


def test_the_buffers_of_the_bare_decoder_are_aligned_as_they_say():
    found = {each.name: each.rows for each in bare_decoder.make_buffers(16, 4, ring=3)}
    assert {name: len(rows) for name, rows in found.items() if name.endswith(", aligned")} == {
        "one image, aligned": 1,
        "a batch, aligned": 4,
        "a ring, aligned": 12,
    }
    assert {row.ctypes.data % 64 for row in found["a batch, aligned"]} == {0}
    assert {row.ctypes.data % 32 for row in found["a ring, not aligned"]} == {8}
    rng = np.random.default_rng(0)
    jpegs = [simplejpeg.encode_jpeg(rng.integers(0, 255, (16, 16, 3), np.uint8), colorsubsampling="444") for _ in "abc"]
    for rows in found.values():
        assert bare_decoder.decode_all(jpegs, rows) == 3
        np.testing.assert_array_equal(rows[2 % len(rows)], simplejpeg.decode_jpeg(jpegs[2]))
    assert bare_decoder.noise_of([100.0]) == bare_decoder.LEAST_NOISE
    assert bare_decoder.noise_of([80.0, 90.0, 100.0, 110.0, 120.0]) == pytest.approx(0.3)


def test_the_miniature_of_the_photo_benchmark_measures_both_ways(tmp_path):
    out = tmp_path / "photos.json"
    photos.main(["--small", "--photos", "2", "--turns", "1", "--crops", "center", "--out", str(out)])
    result = json.loads(out.read_text())["result"]
    assert [row["size"] for row in result["rows"]] == list(photos.SIZES)
    assert result["megapixels"] == 0.2
    assert 0 < result["rows"][0]["difference"] < 10
    assert result["rows"][-1]["difference"] == 0  # 375 px are less than twice 2 x 224


def test_a_result_names_no_folder_of_the_machine(tmp_path, monkeypatch):
    out = tmp_path / "stop.json"
    words = ["--ranks", "2", "--out", str(out), f"--data={tmp_path}/shards", "data.threads=2", "configs/faces.yaml"]
    monkeypatch.setattr(sys, "argv", ["stop", *words])
    common.write_result(out, "stop", {})
    command = "python -m benchmarks.stop --ranks 2 --out stop.json --data=shards data.threads=2 configs/faces.yaml"
    assert json.loads(out.read_text())["command"] == command
    assert str(tmp_path) not in out.read_text()


def test_one_number_of_ranks_is_measured_and_not_extrapolated(tmp_path, monkeypatch):
    row = {"ring_us": 1.0, "agreement_us": 1.0, "requests_per_second": 1.0, "seconds_to_stop": 0.1, "measured": True}
    files = dict.fromkeys(("files_before", "files_after", "files_of_the_first"), 1)
    monkeypatch.setattr(stop, "measure", lambda world, steps: {"ranks": world, **row, **files})
    monkeypatch.setattr(stop, "raise_limit", lambda: None)
    for ranks, rows in (("2", [2]), ("2 2", [2]), ("2 4", [2, 4, *stop.MODELLED])):
        monkeypatch.setattr(sys, "argv", ["stop", "--out", str(tmp_path / "x.json"), "--ranks", *ranks.split()])
        stop.main()
        measured = json.loads((tmp_path / "x.json").read_text())["result"]["rows"]
        assert [each["ranks"] for each in measured] == rows
