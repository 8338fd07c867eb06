"""CDAN against a step derived by hand (Long et al. 2018, eq. 4-8)."""

import pytest
import torch
import torch.nn.functional as F

from job.methods.batch import TrainingBatch
from job.methods.terms import conditional_entropy, pseudo_label_loss
from tests.support.networks import CLASSES, WIDTH, tiny_batch, tiny_method
from tests.support.steps import assert_same_parameters, descend_adversarially, one_step

HALF = torch.tensor(0.5, dtype=torch.float64)


def weights_by_hand(logits):
    p = logits.softmax(1)
    entropy = -(p * p.log()).sum(1)
    weights = 1 + torch.exp(-entropy)
    return weights / weights.sum() * len(weights)


def step_by_hand(method, batch, lambda_, conditioning):
    images, labels, rows = batch.images, batch.labels, len(batch.labels)
    network, judge = method.network, method.adversary.domain_classifier
    features = network.feature_extractor(images)
    logits = network.label_predictor(features)
    p = logits.detach().softmax(1)
    products = torch.stack([torch.outer(p[i], features[i]).flatten() for i in range(2 * rows)])
    says_target = torch.sigmoid(judge(products).squeeze(1))
    weights = [torch.ones(rows, dtype=torch.float64)] * 2
    if conditioning:
        weights = [weights_by_hand(part.detach()) for part in (logits[:rows], logits[rows:])]
    on_domains = -(weights[0] * torch.log(1 - says_target[:rows])).mean()
    on_domains = on_domains - (weights[1] * torch.log(says_target[rows:])).mean()
    on_classes = F.cross_entropy(logits[:rows], labels)
    descend_adversarially(method, on_classes, on_domains, lambda_)


@pytest.mark.parametrize("conditioning", [True, False])
def test_a_step_equals_the_one_derived_by_hand(conditioning):
    by_hand, method = (tiny_method("cdan", entropy_conditioning=conditioning) for _ in range(2))
    batch = tiny_batch(method)
    step_by_hand(by_hand, batch, method.adversary.strength(0.5), conditioning)
    one_step(method, batch)
    assert_same_parameters(method, by_hand, rtol=1e-6, atol=1e-8)


def test_the_domain_classifier_is_as_wide_as_the_product_or_the_projection():
    def width(**settings):
        return tiny_method("cdan", **settings).adversary.domain_classifier[0].in_features

    assert width() == WIDTH * CLASSES
    assert width(randomized=7) == 7


def test_a_random_projection_keeps_inner_products_on_average():
    """<T(f, p), T(g, q)> is <f, g> <p, q> in expectation: eq. 6 and theorem 1."""
    torch.manual_seed(0)
    method = tiny_method("cdan", randomized=20000)
    output = method.network(torch.randn(2, 4, dtype=torch.float64))
    p = output.class_logits.softmax(1)
    exact = (output.features[0] @ output.features[1]) * (p[0] @ p[1])
    one, other = method.domain_input(output)
    scale = (output.features[0].norm() * output.features[1].norm() * p[0].norm() * p[1].norm()).item()
    assert (one @ other).item() == pytest.approx(exact.item(), abs=0.05 * scale)


def test_terms_on_the_target_are_those_of_dann():
    """Second views of the target get pseudo-labels, and are not rows of the domain loss."""
    weights = {"entropy_weight": 0.3, "pseudo_label_weight": 0.7, "pseudo_label_threshold": 0.2}
    plain, method = tiny_method("cdan"), tiny_method("cdan", **weights)
    batch = tiny_batch(method)
    only = TrainingBatch(plain.reads, batch.images[: 2 * len(batch.labels)], batch.labels)
    without, losses = plain(only, HALF), method(batch, HALF)
    target, second = method.network(batch.images).class_logits.chunk(3)[1:]
    rise = method.adversary.strength(0.5)
    terms = 0.3 * conditional_entropy(target) + 0.7 * pseudo_label_loss(target, second, 0.2)
    torch.testing.assert_close(losses.total - without.total, rise * terms)
    torch.testing.assert_close(losses.terms["train/domain_loss"], without.terms["train/domain_loss"])
