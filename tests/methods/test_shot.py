"""SHOT against a step derived by hand (Liang et al. 2020, eq. 3-5), and its refusals."""

import json
import shutil

import pytest
import torch
import torch.nn.functional as F

from job.methods.shot import diversity
from job.system.errors import JobError
from job.train import train
from tests.support.networks import tiny_batch, tiny_method
from tests.support.running import rows
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


def test_it_is_refused_with_the_label_predictor_of_other_classes(small, checkpoint_of):
    path = checkpoint_of(class_names=tuple("abcdefg"))
    with pytest.raises(JobError, match="other classes than those of the shards"):
        train(small(objective={"name": "shot"}, model={"weights": str(path)}))


def test_it_trains_on_shards_without_a_training_split_of_the_source(small, faces, tmp_path, checkpoint_of):
    shards = shutil.copytree(faces, tmp_path / "without_source")
    manifest = json.loads((shards / "manifest.json").read_text())
    for shard in manifest["domains"]["source"].pop("train"):
        (shards / shard["path"]).unlink()
    (shards / "manifest.json").write_text(json.dumps(manifest))
    keys = {"data": {"shards": str(shards)}, "model": {"weights": str(checkpoint_of())}, "train": {"steps": 4}}
    config = small(objective={"name": "shot"}, **keys)
    assert train(config) == 0
    assert "train/pseudo_label_loss" in rows(config)[-1]
    with pytest.raises(JobError, match="contain no source/train"):
        train(small(name="dann", **keys))
