"""Figures and reports of a run. Only files named oracle may use target labels."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import time
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from job.__main__ import main
from job.config.load import build_config
from job.evaluation.samples import Faces, Sample, Sampler
from job.models.classifier import Output
from job.monitor.figures.draw import FIGURES, draw_figures, figure_path
from job.monitor.figures.faces import draw_target_faces, draw_target_mistakes
from job.monitor.report.write import write_report
from job.run_folder.feature_layout import lay_out
from job.run_folder.run_view import read_run
from job.shards.writing.write_shards import write_shards
from job.system.errors import JobError
from job.train import train
from tests.support.running import finish, merge, rows, start

DRAWN = {
    "train": {"steps": 8, "eval_every": 4, "timeout_seconds": 1200},
    "evaluation": {"figures": True, "probe_samples": 30, "pictures": 6},
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, faces):
    """Train a short run with figures."""
    from tests.support.running import SMALL

    output = tmp_path_factory.mktemp("drawn")
    content = merge(merge(SMALL, DRAWN), {"name": "drawn", "output": str(output), "data": {"shards": str(faces)}})
    config = build_config(content, "test")
    assert train(config) == 0
    return config


def test_every_figure_is_drawn(drawn):
    for name in FIGURES:
        with Image.open(figure_path(drawn.run_folder, name)) as image:
            assert min(image.size) > 150, name  # one row of faces is 195 px high
            assert np.asarray(image.convert("L")).std() > 5, f"{name} is blank"
    assert {path.name for path in (drawn.run_folder / "figures" / "oracle").iterdir()} == {
        f"{name.removeprefix('oracle/')}.png" for name in FIGURES if name.startswith("oracle/")
    }


def test_no_temporary_file_is_left(drawn):
    assert not [path.name for path in drawn.run_folder.rglob(".*")]


@pytest.fixture
def unlabelled_shards(tmp_path):
    """Write small faces whose target has no labels in any split, including test."""
    shards = tmp_path / "unlabelled"
    options = {"train": 96, "val": 33, "test": 35}
    write_shards("faces", None, shards, size=48, shards=8, workers=1, options=options, progress=False)
    manifest = json.loads((shards / "manifest.json").read_text())
    for infos in manifest["domains"]["target"].values():
        for info in infos:
            info |= {"labelled": False, "class_counts": None}
    (shards / "manifest.json").write_text(json.dumps(manifest))
    return shards


@pytest.mark.slow
def test_outputs_without_target_labels(small, unlabelled_shards, tmp_path):
    config = small(**merge(DRAWN, {"name": "unlabelled", "data": {"shards": str(unlabelled_shards)}}))
    assert train(config) == 0
    folder = config.run_folder
    assert "no target labels: not measured" in (folder / "log.txt").read_text().splitlines()[-1]
    assert not (folder / "figures" / "oracle").exists()
    for name in ("features_by_emotion", "target_faces", "target_classes", "confidence"):
        assert (folder / "figures" / f"{name}.png").exists()
    page = (folder / "report.html").read_text()
    assert '<span class="oracle"' not in page
    assert "<b>not measured</b><span>target accuracy, test: no target labels</span>" in page
    assert page.count("no target labels: not measured") == 2  # of validation and of test
    for word in ("Choice of the checkpoint", "confidence", "target predicted as joy", "By class"):
        assert word in page, word
    runner = CliRunner()
    done = runner.invoke(main, ["compare", str(folder), "--out", str(tmp_path / "out")], standalone_mode=False)
    assert "no target labels: not measured" in done.output
    done = runner.invoke(main, ["evaluate", "--checkpoint", f"{folder}/checkpoints/best"], standalone_mode=False)
    assert done.exception is None
    card = (folder / "evaluation" / "model_card.md").read_text()
    assert "no target labels: not measured" in card
    assert "above 0.9 in" in card


@pytest.mark.slow
def test_labels_of_the_test_split_only_are_used_for_the_test_only(small, tmp_path):
    shards = tmp_path / "unlabelled"
    write_shards("faces", None, shards, size=48, shards=8, workers=1, options={"train": 96, "val": 33, "test": 35},
                 progress=False)  # fmt: skip
    config = small(**merge(DRAWN, {"name": "unlabelled", "data": {"shards": str(shards)}}))
    assert train(config) == 0
    oracle = config.run_folder / "figures" / "oracle"
    assert [path.name for path in oracle.iterdir()] == ["test_confusion_target.png"]
    page = (config.run_folder / "report.html").read_text()
    assert page.count('<span class="oracle"') == 1
    assert "By class, true" not in page


def test_report_of_a_finished_run_starts_with_the_test_results(drawn):
    page = (drawn.run_folder / "report.html").read_text()
    summary = json.loads((drawn.run_folder / "summary.json").read_text())
    tiles = re.search(r'<div class="tiles">(.*?)</div></div>', page, re.S)[1]
    shown = dict(re.findall(r"<b>([^<]*)</b><span>([^<]*)</span>", tiles))
    assert f"{summary['oracle/test_target_accuracy']:.3f}" in shown
    assert shown[f"step {summary['selection/chosen_step']}"] == "chosen by infomax"
    assert "target accuracy, test (oracle); 95 % (Wilson):" in tiles
    assert "python -m job evaluate draws whole subjects (bootstrap)" in page
    assert "35 images" in tiles
    assert "validation" not in tiles


def test_unlisted_metric_has_a_curve(drawn, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(drawn.run_folder, folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    lines = [row | {"train/coral_loss": 0.5, "teacher/decay": 0.9} for row in lines]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    page = write_report(read_run(folder)).read_text()
    losses = page[page.index("<h3>Losses") :]
    assert "</i>coral</span>" in losses[: losses.index("</section>")]
    assert "<h3>decay" in page


def test_figure_without_data_is_deleted(drawn, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(drawn.run_folder, folder)
    for path in (folder / "evaluation").glob("*.json"):
        content = json.loads(path.read_text())
        content["target"]["confusion"] = None
        path.write_text(json.dumps(content))
    draw_figures(read_run(folder))
    assert not figure_path(folder, "oracle/confusion_target").exists()
    assert figure_path(folder, "figures/confusion_source").exists()


def test_report_is_self_contained(drawn):
    page = (drawn.run_folder / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)[^"]*"', page)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert "@import" not in page
    for word in (
        "Confusion, source",
        "By domain",
        "prediction and confidence",
        "most confident mistakes",
        "Reproduce",
        "finished",
    ):
        assert word in page, word
    assert "launch/local.sh" in page
    assert 'http-equiv="refresh"' not in page  # the run has finished


def test_report_of_a_running_run_reloads(drawn, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(drawn.run_folder, folder)
    (folder / "status.json").write_text('{"status": "running", "exit_code": null}')
    (folder / "summary.json").unlink()
    with open(folder / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        page = write_report(read_run(folder)).read_text()
    assert 'http-equiv="refresh"' in page
    assert '<span class="badge running">' in page


def test_report_of_a_killed_run_shows_killed(drawn, tmp_path):
    """Its status file still says running."""
    folder = tmp_path / "copy"
    shutil.copytree(drawn.run_folder, folder)
    (folder / "status.json").write_text('{"status": "running", "exit_code": null}')
    page = write_report(read_run(folder)).read_text()
    assert '<span class="badge killed">' in page
    assert 'http-equiv="refresh"' not in page
    (folder / "lock").write_text("process 1 on another-node")
    os.utime(folder / "log.txt")
    assert read_run(folder).status["status"] == "running", "a lock of another node may be invisible here"
    os.utime(folder / "log.txt", (time.time() - 1000,) * 2)
    assert read_run(folder).status["status"] == "killed"


def test_report_before_the_first_evaluation(drawn, tmp_path):
    folder = tmp_path / "young"
    folder.mkdir()
    shutil.copy(drawn.run_folder / "config.yaml", folder)
    run = read_run(folder)
    assert draw_figures(run) == {}
    assert "step 0 of 8" in write_report(run).read_text()
    lines = (drawn.run_folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text(lines[0])
    assert draw_figures(read_run(folder)) == {}
    assert "<h3>Images a second" in write_report(read_run(folder)).read_text()
    with pytest.raises(JobError, match=r"is not a run folder \(it has no config.yaml\)"):
        read_run(tmp_path / "nowhere")


def test_evaluations_after_the_resumed_step_do_not_count(drawn, tmp_path):
    folder = tmp_path / "back"
    shutil.copytree(drawn.run_folder, folder)
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:5]))
    assert [evaluation["step"] for evaluation in read_run(folder).evaluations] == [4]


@pytest.mark.slow
def test_report_command_draws_figures_again(drawn, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(drawn.run_folder, folder)
    (folder / "report.html").unlink()
    result = CliRunner().invoke(main, ["report", str(folder)], standalone_mode=False)
    assert result.exception is None
    assert result.output.strip() == str(folder / "report.html")
    assert (folder / "report.html").exists()


def test_figures_do_not_change_training(small, drawn):
    from tests.support.running import assert_same_weights, weights

    without = small(**merge(DRAWN, {"name": "without", "evaluation": {"figures": False}}))
    assert train(without) == 0
    assert not (without.run_folder / "report.html").exists()
    assert_same_weights(weights(without), weights(drawn))


def test_failed_drawing_is_one_warning_and_training_continues(small, tmp_path, monkeypatch):
    broken = tmp_path / "broken" / "job"  # found before any installed package
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise OSError('no such disk')\n")
    monkeypatch.setattr("job.monitor.drawing.ROOT", broken.parent)
    monkeypatch.chdir(tmp_path)
    config = small(**merge(DRAWN, {"name": "undrawn"}))
    assert train(config) == 0
    lines = (config.run_folder / "log.txt").read_text().splitlines()
    assert len([line for line in lines if "cannot draw figures (OSError: no such disk)" in line]) == 1
    assert len(rows(config)) == 8


def sampler_of(n: int, samples=10, faces=4, mistakes=3, first=0) -> tuple[Sampler, Output, np.ndarray]:
    import torch

    generator = torch.Generator().manual_seed(0)
    sampler = Sampler(samples, faces, mistakes, ranks=1, first=first)
    labels = torch.randint(0, 3, (n,), generator=generator)
    logits = torch.randn(n, 3, generator=generator)
    images = torch.randint(0, 256, (n, 200, 160, 3), generator=generator, dtype=torch.uint8)
    output = Output(torch.randn(n, 5, generator=generator), logits, torch.randn(n, generator=generator))
    for first in range(0, n, 7):
        part = slice(first, first + 7)
        keys = [f"k{i:03d}" for i in range(n)][part]
        sampler.add(images[part], labels[part], keys, Output(*(p[part] for p in output)), logits[part].log_softmax(1))
    return sampler, output, labels.numpy()


def test_sample_has_the_first_samples_and_the_most_confident_mistakes():
    sampler, output, labels = sampler_of(40)
    sample = sampler.gather()
    assert isinstance(sample, Sample)
    np.testing.assert_array_equal(sample.features, output.features[:10].numpy())
    np.testing.assert_array_equal(sample.labels, labels[:10])
    np.testing.assert_array_equal(sample.log_probabilities, output.class_logits[:10].log_softmax(1).numpy())
    np.testing.assert_array_equal(sample.predicted, output.class_logits[:10].argmax(1).numpy())
    assert sample.faces.keys == ["k000", "k001", "k002", "k003"]
    assert sample.faces.images.shape == (4, 96, 77, 3)  # thumbnails
    confidence, predicted = (part.numpy() for part in output.class_logits.softmax(1).max(1))
    wrong = [i for i in np.argsort(-confidence) if predicted[i] != labels[i]][:3]
    assert sample.mistakes.keys == [f"k{i:03d}" for i in wrong]
    np.testing.assert_allclose(sample.mistakes.confidence, confidence[wrong])


@pytest.mark.parametrize(("first", "kept"), [(0, 10), (7, 3), (9, 1)])
def test_the_first_samples_of_the_split_are_kept_whichever_rank_evaluates_them(first, kept):
    sampler, _, _ = sampler_of(40, first=first)
    assert len(sampler.gather().features) == kept


@pytest.mark.parametrize(("which", "number", "height"), [("target_faces", 16, 48), ("target_mistakes", 9, 24)])
def test_sample_images_have_no_empty_bands(tmp_path, which, number, height):
    parts = {"images": np.zeros((number, height, 48, 3), np.uint8), "confidence": np.full(number, 0.5)}
    parts |= {name: np.zeros(number, int) for name in ("labels", "predicted")}
    run = SimpleNamespace(sample={f"{which}_{name}": part for name, part in parts.items()}, class_names=["joy"])
    figure = {"target_faces": draw_target_faces, "target_mistakes": draw_target_mistakes}[which](run)
    figure.savefig(tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        empty = (np.asarray(image.convert("L")) > 250).all(1)
    edges = np.flatnonzero(np.diff(np.r_[0, empty, 0]))
    widest = (edges[1::2] - edges[::2]).max()
    assert widest < 0.25 * figure.dpi, f"{widest} rows of pixels are empty"


def test_feature_map_is_deterministic():
    features = np.random.default_rng(0).normal(size=(60, 12))
    for method in ("pca", "tsne"):
        positions = lay_out(features, method)
        assert positions.shape == (60, 2)
        np.testing.assert_array_equal(positions, lay_out(features, method))
    apart = lay_out(np.concatenate([features, features + 20]), "pca")
    assert abs(apart[:60, 0].mean() - apart[60:, 0].mean()) > 20
    assert lay_out(np.ones((1, 1)), "pca").shape == (1, 2)


@pytest.mark.slow
def test_sample_of_two_ranks_has_the_configured_size(small, tmp_path):
    config = small(**merge(DRAWN, {"name": "two"}))
    finish(start(config, tmp_path, ranks=2))
    run = read_run(config.run_folder)
    assert len(run.sample["source_features"]) == len(run.sample["target_features"]) == 30
    assert len(run.sample["target_faces_keys"]) == 6
    assert len(set(run.sample["target_faces_keys"])) == 6
    confidence = run.sample["target_mistakes_confidence"]
    assert 0 < len(confidence) <= 6
    assert list(confidence) == sorted(confidence, reverse=True)
    with np.load(config.run_folder / "figures" / "sample.npz", allow_pickle=False) as content:
        assert "target_faces_images" in content.files


# In a browser ------------------------------------------------------------------------------------------------------


def browser() -> str:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no browser: install chromium to test the report")
    return path


def screenshot(page, out, tmp_path, scheme: str, width: int = 1280) -> np.ndarray:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command = [browser(), *flags, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},2400"]
    command += [f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}", "--enable-logging=stderr"]
    done = subprocess.run([*command, f"--screenshot={out}", page.as_uri()], capture_output=True, text=True, timeout=300)
    errors = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not errors
    with Image.open(out) as image:
        return np.asarray(image.convert("L")).astype(float)


@pytest.mark.slow
def test_report_in_a_browser_light_and_dark(drawn, tmp_path):
    page = drawn.run_folder / "report.html"
    light = screenshot(page, tmp_path / "light.png", tmp_path, "light")
    dark = screenshot(page, tmp_path / "dark.png", tmp_path, "dark")
    assert np.median(light) > 230
    assert np.median(dark) < 50
    for picture in (light, dark):
        for top in range(0, 2400, 600):  # each part of the page has content
            assert picture[top : top + 600].std() > 8
    assert json.dumps(light.shape) == json.dumps(dark.shape)
    narrow = screenshot(page, tmp_path / "narrow.png", tmp_path, "light", width=500)
    assert narrow[:, -8:].std() < 3  # nothing exceeds a narrow window


def test_sample_without_labels_has_no_mistakes():
    import torch

    sampler = Sampler(4, 2, 2, ranks=1)
    output = Output(torch.zeros(4, 2), torch.eye(4, 3), torch.zeros(4))
    sampler.add(torch.zeros(4, 8, 8, 3, dtype=torch.uint8), torch.full((4,), -1), list("abcd"), output,
                output.class_logits.log_softmax(1))  # fmt: skip
    sample = sampler.gather()
    assert isinstance(sample.mistakes, Faces)
    assert len(sample.mistakes.keys) == 0
    assert set(sample.faces.labels) == {-1}


@pytest.mark.slow
def test_class_names_are_plain_text_and_not_formulas_or_html(drawn, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(drawn.run_folder, folder)
    names = ["$x^", "<b>bold</b>", "a&b", r"\frac", "_", "%s", "'\""]
    for path in (folder / "evaluation").glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"class_names": names}))
    run = read_run(folder)
    assert "figures/confusion_source" in draw_figures(run)  # matplotlib would fail on an incomplete formula
    assert "<b>bold" not in write_report(run).read_text()
