"""Partly labelled splits: all samples are predicted; accuracy and recall are measured on the labelled ones."""

import json

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from job.config.load import build_config
from job.evaluation.card import model_card
from job.evaluation.command import evaluate_checkpoint
from job.evaluation.evaluate import evaluate_domain
from job.evaluation.metrics import accuracy
from job.evaluation.report_files import as_json
from job.evaluation.selection import Evidence
from job.evaluation.validate import final_metrics, validation_metrics
from job.shards.manifest import load_manifest
from job.shards.reading.augment import normalise
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.whole_split import read_split
from job.system.errors import JobError
from job.train import train
from job.vocabulary import EMOTIONS
from tests.support import trees
from tests.support.datasets import build
from tests.support.running import SMALL, merge

LABELLED, UNLABELLED = 21, 140


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """210 men in 7 class folders; 21 women in class folders and 140 without a class."""
    root, out = (tmp_path_factory.mktemp("partly") / name for name in ("a set", "some shards"))
    trees.folders(root, domains=("Male",), each=30)
    trees.folders(root, domains=("Female",), each=LABELLED // 7, first=20_000)
    trees.unlabelled(root / "Female", UNLABELLED)
    build("folders", root, out, size=32, shards=8, keep_target_labels=False)
    return out


@pytest.fixture(scope="module")
def trained(shards, tmp_path_factory):
    content = {"name": "partly", "output": str(tmp_path_factory.mktemp("run")), "data": {"shards": str(shards)}}
    config = build_config(merge(SMALL, {**content, "train": {"steps": 4, "eval_every": 2}}), "test")
    assert train(config) == 0
    return config


class Fixed(torch.nn.Module):
    """Predict the class from the mean brightness of the image."""

    def predict(self, images):
        from job.models.classifier import Output

        brightness = images.flatten(1).mean(1)
        logits = -(brightness[:, None] * 40 - torch.linspace(-8, 8, 7)).square()
        return Output(images.flatten(1)[:, :8], logits, brightness)


def evaluated(shards, split="test"):
    manifest = load_manifest(shards)
    model = Fixed()
    report = evaluate_domain(
        model, Accelerator(cpu=True), manifest, ShardStore(shards), "target", split,
        normalise=lambda images: normalise(images, (0.5,) * 3, (0.5,) * 3), batch_size=5, probe_samples=100, pictures=9,
    )  # fmt: skip
    parts = list(
        read_split(manifest, ShardStore(shards), "target", split, labelled=manifest.labels("target", split) > 0)
    )
    images, labels = (torch.cat([part[i] for part in parts]) for i in (0, 1))
    predicted = model.predict(normalise(images, (0.5,) * 3, (0.5,) * 3)).class_logits.argmax(1)
    return report, labels.numpy(), predicted.numpy()


def test_accuracy_is_measured_on_labelled_samples_and_predictions_on_all(shards):
    report, labels, predicted = evaluated(shards)
    known = labels >= 0
    assert report.samples == len(labels) == 24
    assert report.labelled == known.sum() == LABELLED
    assert accuracy(report.confusion) == pytest.approx((labels == predicted)[known].mean())
    np.testing.assert_array_equal(report.predicted, np.bincount(predicted, minlength=7))
    expected = np.zeros((7, 7), int)
    np.add.at(expected, (labels[known], predicted[known]), 1)
    np.testing.assert_array_equal(report.confusion, expected)
    assert as_json(report)["labelled"] == LABELLED


def test_mistakes_are_labelled_samples_only(shards):
    report, labels, predicted = evaluated(shards)
    mistakes = report.sample.mistakes
    assert (mistakes.labels >= 0).all()
    assert (mistakes.labels != mistakes.predicted).all()
    assert len(mistakes.keys) == min(9, ((labels >= 0) & (labels != predicted)).sum())
    assert sorted(report.sample.labels.tolist()) == sorted(labels.tolist())


def test_unlabelled_split_has_no_accuracy(shards):
    report, labels, _ = evaluated(shards, "val")
    assert report.confusion is None
    assert report.labelled == 0
    assert (labels == -1).all()
    assert len(report.sample.mistakes.keys) == 0
    assert as_json(report)["confusion"] is None


def test_metrics_are_finite_or_absent(shards):
    report, _, _ = evaluated(shards)
    unlabelled, _, _ = evaluated(shards, "val")
    names = EMOTIONS
    for metrics in (
        validation_metrics(Evidence(report, unlabelled), names, "infomax"),
        final_metrics(report, unlabelled, names),
    ):
        assert not [name for name in metrics if name.startswith("oracle")]
        assert np.isfinite(list(metrics.values())).all()
    assert "oracle/test_target_accuracy" in final_metrics(report, report, names)


def test_class_that_does_not_occur_has_no_recall_and_does_not_count_as_zero(shards):
    report, _, _ = evaluated(shards)
    confusion = report.confusion.copy()
    confusion[3] = 0
    confusion[:, 3] = 0
    lacking = report.__class__(**{**vars(report), "confusion": confusion})
    metrics = final_metrics(lacking, lacking, EMOTIONS)
    assert "oracle/test_target_recall/surprise" not in metrics
    assert "oracle/test_target_recall/joy" in metrics
    present = [
        f1(confusion, label) for label in range(7) if label != 3 and confusion[label].sum() + confusion[:, label].sum()
    ]
    assert metrics["oracle/test_target_macro_f1"] == pytest.approx(np.mean(present))


def f1(confusion, label):
    return 2 * confusion[label, label] / (confusion[label].sum() + confusion[:, label].sum())


def test_commands_report_how_many_samples_have_a_label(trained, tmp_path, shards):
    out = tmp_path / "figures.json"
    table, *_ = evaluate_checkpoint(trained.run_folder / "checkpoints" / "best", "test", None, out)
    assert f"{LABELLED} of these have a label: the metrics are measured on those" in table
    assert "nan" not in table
    content = json.loads(out.read_text())
    assert content["target"]["samples"] == 24
    assert content["target"]["labelled"] == LABELLED
    confusion = np.array(content["target"]["confusion"])
    assert content["target"]["accuracy"] == pytest.approx(np.trace(confusion) / LABELLED)
    summary = json.loads((trained.run_folder / "summary.json").read_text())
    assert summary["oracle/test_target_accuracy"] == content["target"]["accuracy"]
    report, _, _ = evaluated(shards)
    card = model_card(trained, load_manifest(shards), "x", 1, "test", {"source": report, "target": report})
    assert f"{LABELLED} of 24 images: accuracy" in card


def test_partial_labels_are_not_enough_to_train_on(trained, tmp_path):
    """train_on_target needs all labels, and fails before the first step without them."""
    shards = tmp_path / "kept"
    root = tmp_path / "set"
    trees.folders(root, domains=("Male", "Female"), each=10)
    trees.unlabelled(root / "Female", 70)
    build("folders", root, shards, size=32, shards=4, keep_target_labels=True)
    content = merge(SMALL, {"output": str(tmp_path), "data": {"shards": str(shards)}})
    config = build_config(merge(content, {"name": "upper", "objective": {"name": "train_on_target"}}), "test")
    with pytest.raises(
        JobError, match=r"train_on_target needs labels of target/train .* has labels for \d+ of its \d+ images; choose"
    ):
        train(config)
