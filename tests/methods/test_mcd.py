"""MCD against a step derived by hand (Saito et al. 2018, sec. 3.3)."""

import torch
import torch.nn.functional as F

from job.methods.mcd import AGREE, DISAGREE, LEARN
from tests.support.networks import tiny_batch, tiny_method
from tests.support.steps import LR, assert_same_parameters, descend, one_step

PLAIN = {"optimizer": {"lr": LR, "momentum": 0.0, "schedule": "constant"}}


def losses(method, batch):
    rows = len(batch.labels)
    features = method.network.feature_extractor(batch.images)
    one, other = method.network.label_predictor(features), method.second_predictor(features)
    on_classes = F.cross_entropy(one[:rows], batch.labels) + F.cross_entropy(other[:rows], batch.labels)
    apart = (torch.softmax(one[rows:], 1) - torch.softmax(other[rows:], 1)).abs().mean()
    return on_classes, apart


def test_a_step_equals_the_three_derived_by_hand():
    by_hand, method = (tiny_method("mcd", feature_updates=2, discrepancy_weight=0.7) for _ in range(2))
    batch = tiny_batch(method)
    encoder = list(by_hand.network.feature_extractor.parameters())
    predictors = [*by_hand.network.label_predictor.parameters(), *by_hand.second_predictor.parameters()]
    descend(losses(by_hand, batch)[0], encoder + predictors)
    on_classes, apart = losses(by_hand, batch)
    descend(on_classes - 0.7 * apart, predictors)
    for _ in range(2):
        descend(0.7 * losses(by_hand, batch)[1], encoder)
    one_step(method, batch, **PLAIN)
    assert_same_parameters(method, by_hand, rtol=1e-9, atol=1e-12)


def test_each_phase_trains_its_own_parameters():
    method = tiny_method("mcd", feature_updates=3)
    assert method.phases == (LEARN, DISAGREE, AGREE, AGREE, AGREE)
    encoder = set(method.network.feature_extractor.parameters())
    assert set(method.trained(LEARN)) == set(method.parameters())
    assert set(method.trained(AGREE)) == encoder
    assert set(method.trained(DISAGREE)) == set(method.parameters()) - encoder


def test_the_predictors_differ_from_the_start_and_both_predict():
    method = tiny_method("mcd")
    images = tiny_batch(method).images
    output = method.predict(images)
    one, other = method.network.label_predictor(output.features), method.second_predictor(output.features)
    assert not torch.allclose(one, other)
    torch.testing.assert_close(output.class_logits, (one + other) / 2)


def test_the_discrepancy_is_logged():
    method = tiny_method("mcd")
    metrics = one_step(method, tiny_batch(method)).metrics(5, 0)
    assert {"train/class_loss", "train/discrepancy", "train/source_accuracy"} <= set(metrics)
    assert metrics["train/discrepancy"] > 0
    assert not {"domain/accuracy", "train/domain_loss", "schedule/lambda"} & set(metrics)
