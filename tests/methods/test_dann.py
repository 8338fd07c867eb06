"""One whole optimiser step of DANN against the same step derived by hand (Ganin et al. 2016, eq. 13-15)."""

import pytest
import torch
import torch.nn.functional as F

from job.config.model import Model
from job.config.objectives import DANNSettings
from job.methods.adversary import Adversary, gradient_penalty
from job.methods.batch import TrainingBatch
from job.methods.build import build_method
from job.methods.terms import domain_loss
from job.models.gradient_reversal import reverse_gradient
from job.models.heads import head
from tests.support.networks import tiny_batch, tiny_config, tiny_method
from tests.support.steps import descend_adversarially, one_step

HALF = DANNSettings(lambda_max=0.8)


def strength(settings=HALF) -> float:
    return Adversary(5, (6,), settings).strength(0.5)


def step_by_hand(method, batch):
    """Ganin et al. 2016, eq. 13-15."""
    images, labels, rows = batch.images, batch.labels, len(batch.labels)
    extractor, labeller = method.network.feature_extractor, method.network.label_predictor
    judge = method.adversary.domain_classifier
    features = extractor(images)
    class_loss = F.cross_entropy(labeller(features[:rows]), labels)
    p = torch.sigmoid(judge(features).squeeze(1))
    on_domains = -torch.log(1 - p[:rows]).mean() - torch.log(p[rows:]).mean()
    descend_adversarially(method, class_loss, on_domains, strength())


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_a_step_equals_the_one_derived_by_hand(accumulate):
    by_hand = tiny_method("dann", lambda_max=0.8)
    batch = tiny_batch(by_hand)
    step_by_hand(by_hand, batch)
    method = tiny_method("dann", lambda_max=0.8)
    one_step(method, batch, train={"steps": 10, "accumulate": accumulate})
    for name, parameter in method.named_parameters():
        # lambda is a float32 number in the job
        torch.testing.assert_close(parameter, by_hand.get_parameter(name), rtol=1e-6, atol=1e-8, msg=name)


def test_lambda_reaches_the_encoder_only():
    batch = tiny_batch(tiny_method("dann"))
    weak, strong = (tiny_method("dann", lambda_max=value, lambda_schedule="constant") for value in (0.0, 1.0))
    for method in (weak, strong):
        one_step(method, batch)
    parts = {"adversary": True, "network.label_predictor": True, "network.feature_extractor": False}
    for part, same in parts.items():
        pairs = zip(weak.get_submodule(part).parameters(), strong.get_submodule(part).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == same, part


def test_the_meter_measures_the_gradient_that_arrives():
    method = tiny_method("dann", lambda_max=0.8)
    batch, rows = tiny_batch(method), 8
    features = method.network.feature_extractor(batch.images).detach().requires_grad_()
    logits = method.adversary.domain_classifier(features).squeeze(1)
    loss = F.softplus(logits[:rows]).mean() + F.softplus(-logits[rows:]).mean()
    (gradient,) = torch.autograd.grad(loss, features)
    metrics = one_step(method, batch).metrics(5, 0)
    assert metrics["domain/reversed_gradient_norm"] == pytest.approx(strength() * gradient.norm().item(), rel=1e-5)
    assert metrics["schedule/lambda"] == pytest.approx(strength())


def test_the_domain_classifier_learns_and_the_encoder_receives_its_gradient():
    """With an inert classifier (a softmax over one logit) the loss would stay at 2 ln 2 and no gradient would flow."""
    torch.manual_seed(0)
    images = torch.cat([torch.randn(64, 4) - 2, torch.randn(64, 4) + 2])
    method = tiny_method("dann").float()
    optimizer = torch.optim.SGD(method.adversary.parameters(), lr=0.5)

    def loss():
        logits = method.adversary(method.network(images).features, 1.0)
        return domain_loss(logits[:64], logits[64:]), logits

    for _ in range(50):
        method.zero_grad()
        loss()[0].backward()
        optimizer.step()
    value, logits = loss()
    assert ((logits > 0) == (torch.arange(128) >= 64)).float().mean() > 0.95
    assert value < 0.5
    method.zero_grad()
    value.backward()
    assert sum(p.grad.abs().sum() for p in method.network.feature_extractor.parameters()) > 1e-3


def test_domain_loss_is_a_mean_per_domain():
    """Twice as many source rows must not weigh twice: eq. 10 sums two means."""
    source, target = torch.tensor([0.3, -0.2]), torch.tensor([1.0, 0.4])
    torch.testing.assert_close(domain_loss(source.repeat(3), target), domain_loss(source, target))
    torch.testing.assert_close(domain_loss(torch.zeros(5), torch.zeros(3)).item(), 2 * torch.tensor(2.0).log().item())


@pytest.mark.parametrize("backbone", ["compact", "mnist", "resnet18"])
def test_no_batch_norm_in_the_domain_classifier(backbone):
    method = build_method(tiny_config("dann", model=Model(backbone=backbone).model_dump()), 48, 7)
    assert not any("Norm" in type(m).__name__ for m in method.adversary.modules())


def test_a_gradient_that_overflows_in_half_precision_is_ignored():
    named = []
    for scale in (65536.0, None):
        method = tiny_method("dann")
        learner = one_step(method, tiny_batch(method))
        method.adversary._squared_gradient.fill_(float("inf"))
        learner._scale = scale
        named.append(set(learner.metrics(5, 0)))
    assert named[1] - named[0] == {"domain/reversed_gradient_norm"}


def test_lambda_follows_the_paper_s_schedule_and_is_a_function_of_progress_alone():
    settings = DANNSettings(lambda_max=2.0, gamma=10.0)
    adversary = Adversary(5, (6,), settings)
    assert adversary.strength(0.0) == 0.0
    assert adversary.strength(0.5) == pytest.approx(2.0 * (2 / (1 + 2.718281828459045**-5) - 1))
    for progress in (0.0, 0.1, 0.5, 0.99):
        tensor = adversary.lambda_at(torch.tensor(progress, dtype=torch.float64))
        assert tensor.item() == pytest.approx(adversary.strength(progress), rel=1e-6)
    constant = Adversary(5, (6,), DANNSettings(lambda_max=0.3, lambda_schedule="constant"))
    assert constant.strength(0.0) == constant.strength(1.0) == 0.3


def test_the_reversal_is_in_the_adversary_once():
    features = torch.ones(2, 5, requires_grad=True)
    adversary = Adversary(5, (), DANNSettings())
    adversary(features, 0.7).sum().backward()
    plain = torch.ones(2, 5, requires_grad=True)
    adversary.domain_classifier(plain).sum().backward()
    torch.testing.assert_close(features.grad, -0.7 * plain.grad)
    torch.testing.assert_close(reverse_gradient(plain, 0.7), plain)


def test_the_gradient_penalty_of_a_linear_classifier_is_known():
    x, classifier = torch.randn(5, 3), torch.nn.Linear(3, 1)
    expected = classifier.weight.square().sum() * x.square().mean()
    torch.testing.assert_close(gradient_penalty(x, classifier), expected)


def test_the_gradient_penalty_ignores_the_scale_of_the_features():
    x, classifier = torch.randn(5, 3), head(3, (6,), 1)
    before = gradient_penalty(x, classifier)
    with torch.no_grad():
        classifier[0].weight.div_(10)
    torch.testing.assert_close(gradient_penalty(10 * x, classifier), before)


@pytest.mark.parametrize("name", ["dann", "cdan"])
def test_the_gradient_penalty_smooths_the_domain_classifier_and_changes_nothing_else(name):
    without, smooth = (tiny_method(name, gradient_penalty=weight) for weight in (0.0, 10.0))
    batch = tiny_batch(without)
    before, after = (method(batch, torch.tensor(0.5)) for method in (without, smooth))
    penalty = after.terms["train/gradient_penalty"]
    torch.testing.assert_close(after.total, before.total + 10 * penalty)
    assert "train/gradient_penalty" not in before.terms
    for _ in range(20):
        one_step(smooth, batch)
    assert smooth(batch, torch.tensor(0.5)).terms["train/gradient_penalty"] < 0.5 * penalty.detach()
    again, method = tiny_method(name), tiny_method(name, gradient_penalty=10.0)
    for each in (again, method):
        one_step(each, batch)
    for part, same in {"adversary": False, "network": True}.items():
        pairs = zip(again.get_submodule(part).parameters(), method.get_submodule(part).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == same, part


@pytest.mark.parametrize("name", ["dann", "cdan"])
def test_the_gradient_penalty_is_a_mean_over_rows(name):
    method = tiny_method(name, gradient_penalty=1.0)
    batch = tiny_batch(method)
    whole, one, other = (
        method(rows, torch.tensor(0.5)).terms["train/gradient_penalty"]
        for rows in (batch, batch.share(0, 2), batch.share(1, 2))
    )
    torch.testing.assert_close((one + other) / 2, whole)


def test_the_gradient_penalty_sees_each_image_once():
    """Second views of the target are not rows of the domain loss."""
    plain, views = (tiny_method("dann", gradient_penalty=1.0, pseudo_label_weight=weight) for weight in (0.0, 1.0))
    batch = tiny_batch(views)
    only = TrainingBatch(plain.reads, batch.images[: 2 * len(batch.labels)], batch.labels)
    one, other = (m(b, torch.tensor(0.5)).terms["train/gradient_penalty"] for m, b in ((plain, only), (views, batch)))
    torch.testing.assert_close(one, other)
