"""SHOT against a step derived by hand (Liang et al. 2020, eq. 3-5), and its refusals."""

import json
import shutil
from itertools import chain

import pytest
import torch
import torch.nn.functional as F

from job.doctor.shards import read_shards
from job.methods.shot import diversity
from job.system.errors import JobError
from job.train import train
from job.vocabulary import SPLITS
from tests.support.networks import tiny_batch, tiny_method
from tests.support.running import assert_stopped_and_resumed_equals, rows
from tests.support.steps import assert_same_parameters, descend, one_step


def test_a_step_equals_the_one_derived_by_hand():
    keys = {"diversity_weight": 0.7, "pseudo_label_weight": 0.4, "centroid_momentum": 0.75}
    by_hand, method = (tiny_method("shot", **keys) for _ in range(2))
    before = torch.rand(3, 6, dtype=torch.float64)
    method.centroids.copy_(before)
    batch = tiny_batch(method)
    features = by_hand.network.feature_extractor(batch.images)
    logits = by_hand.network.label_predictor(features)
    p = logits.softmax(1)
    mean = p.mean(0)
    information = -(p * p.log()).sum(1).mean() + 0.7 * (mean * mean.log()).sum()
    rows = torch.cat([features, torch.ones(8, 1)], 1).detach()
    rows = rows / rows.norm(dim=1, keepdim=True)
    centroids = 0.75 * before + 0.25 * torch.stack([(p.detach()[:, [k]] * rows).sum(0) for k in range(3)])
    labels = F.cosine_similarity(rows[:, None], centroids[None], dim=2).argmax(1)
    loss = information + 0.4 * F.cross_entropy(logits, labels)
    descend(loss, by_hand.network.feature_extractor.parameters())
    one_step(method, batch)
    torch.testing.assert_close(method.centroids, centroids)
    assert_same_parameters(method, by_hand)  # the label predictor's have not moved


def test_diversity_has_a_finite_gradient_for_a_class_that_no_row_predicts():
    logits = torch.tensor([[0.0, -2000.0]], requires_grad=True)
    diversity(logits).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("weights", ["none", "/nowhere/best"])
def test_it_is_refused_without_a_checkpoint(small, weights):
    with pytest.raises(JobError, match=r"model\.weights=runs/NAME/checkpoints/best"):
        train(small(objective={"name": "shot"}, model={"weights": weights}))


def test_a_check_refuses_it_without_weights_but_not_for_weights_that_are_gone(small, tmp_path, job):
    """A run that resumes needs only its own checkpoint."""
    path = tmp_path / "shot.yaml"
    for weights, expected in (("none", 2), (str(tmp_path / "gone"), 0)):
        path.write_text(small(objective={"name": "shot"}, model={"weights": weights}).to_yaml())
        code, _, errors = job("train", "--check", "--config", path)
        assert code == expected, errors
        assert ("starts from a trained network" in errors) == (expected == 2)


def test_it_is_refused_with_the_label_predictor_of_other_classes(small, checkpoint_of):
    path = checkpoint_of(class_names=tuple("abcdefg"))
    with pytest.raises(JobError, match="other classes than those of the shards"):
        train(small(objective={"name": "shot"}, model={"weights": str(path)}))


def without_source(faces, out, splits=SPLITS, labels=True):
    """A copy of the shards without these splits of the source, and without the source if none is left.

    Without `labels` the target has none.
    """
    shards = shutil.copytree(faces, out)
    manifest = json.loads((shards / "manifest.json").read_text())
    source = manifest["domains"]["source"]
    for split in splits:
        for shard in source.pop(split):
            (shards / shard["path"]).unlink()
    if not source:
        del manifest["domains"]["source"]
    if not labels:
        for shard in chain(*manifest["domains"]["target"].values()):
            shard |= {"labelled": False, "class_counts": None}
    (shards / "manifest.json").write_text(json.dumps(manifest))
    return shards


def test_it_trains_on_shards_without_a_training_split_of_the_source(small, faces, tmp_path, checkpoint_of):
    shards = without_source(faces, tmp_path / "without_source", ["train"])
    keys = {"data": {"shards": str(shards)}, "model": {"weights": str(checkpoint_of())}, "train": {"steps": 4}}
    config = small(objective={"name": "shot"}, **keys)
    assert train(config) == 0
    assert "train/pseudo_label_loss" in rows(config)[-1]
    with pytest.raises(JobError, match="contain no source/train"):
        train(small(name="dann", **keys))


@pytest.mark.slow
def test_a_target_alone_is_enough_from_training_to_comparison(small, faces, tmp_path, checkpoint_of, job):
    shards = without_source(faces, tmp_path / "target_only")
    keys = {"objective": {"name": "shot"}, "data": {"shards": str(shards)}, "train": {"steps": 12, "eval_every": 4}}
    keys |= {"model": {"weights": str(checkpoint_of())}}
    whole, stopped = small(name="whole", **keys), small(name="stopped", **keys)
    assert_stopped_and_resumed_equals(stopped, whole)

    evaluations = [row for row in rows(whole) if "selection/infomax" in row]
    assert [row["trainer/step"] for row in evaluations] == [4, 8, 12]
    logged = set().union(*evaluations)
    assert {"selection/infomax", "selection/entropy", "selection/bnm", "oracle/target_accuracy"} <= logged
    assert not any("source" in name or name.startswith(("label_shift/", "domain/")) for name in logged)
    summary = json.loads((whole.run_folder / "summary.json").read_text())
    best = max(evaluations, key=lambda row: (row["selection/infomax"], row["trainer/step"]))
    assert summary["selection/chosen_step"] == best["trainer/step"]
    assert "test/source_accuracy" not in summary
    content = json.loads((whole.run_folder / "evaluation" / "step_00000004.json").read_text())
    assert content["source"]["samples"] == 0
    assert content["source"]["mean_entropy"] is None

    best = whole.run_folder / "checkpoints" / "best"
    assert job("evaluate", "--checkpoint", best)[0] == 0
    card = (whole.run_folder / "evaluation" / "model_card.md").read_text()
    assert "none in these shards: nothing was measured on it" in card
    assert "### source" not in card
    assert job("report", whole.run_folder)[0] == 0
    assert "selection/chosen_step" in (whole.run_folder / "report.html").read_text()
    code, table, _ = job("compare", whole.run_folder, "--out", tmp_path / "comparison")
    assert code == 0
    assert "shot" in table
    assert "not measured" in table
    assert "readable" in read_shards(whole, seconds=0)[0][0].result


def test_without_target_labels_too_a_run_finishes(small, faces, tmp_path, checkpoint_of, job):
    shards = without_source(faces, tmp_path / "target_only", labels=False)
    keys = {"objective": {"name": "shot"}, "data": {"shards": str(shards)}, "train": {"steps": 4, "eval_every": 4}}
    config = small(name="blind", **keys, model={"weights": str(checkpoint_of())})
    assert train(config) == 0
    assert json.loads((config.run_folder / "summary.json").read_text())["selection/chosen_step"] == 4
    assert "no target labels: not measured" in job("compare", config.run_folder, "--out", tmp_path / "comparison")[1]
    assert not (tmp_path / "comparison" / "comparison.png").exists()


@pytest.mark.parametrize("score", ["dev", "source_accuracy"])
def test_a_score_that_needs_the_source_is_refused_without_one(small, faces, tmp_path, checkpoint_of, score):
    shards = without_source(faces, tmp_path / "target_only")
    keys = {"data": {"shards": str(shards)}, "model": {"weights": str(checkpoint_of())}, "selection": {"score": score}}
    with pytest.raises(JobError, match=f"selection.score={score} needs source images"):
        train(small(objective={"name": "shot"}, **keys))
