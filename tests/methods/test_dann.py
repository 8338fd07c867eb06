"""One whole optimiser step of the loop against the same step derived by hand (Ganin et al. 2016, eq. 13-15)."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn

from job.config.schema import Config
from job.methods import OBJECTIVES
from job.models.dann import DANN, head
from job.training.loop import _update
from job.training.meter import Meter

LR, LAMBDA, MOMENTUM = 0.1, 0.7, 0.9


def tiny_model():
    torch.manual_seed(3)
    return DANN(nn.Sequential(nn.Linear(4, 5), nn.Tanh()), head(5, (), 3), head(5, (6,), 1)).double()


def tiny_batch(rows=8):
    torch.manual_seed(4)
    images = torch.randn(2 * rows, 4, dtype=torch.float64)
    images[rows:] += 1.0
    return images, torch.cat([torch.randint(3, (rows,)), torch.full((rows,), -1)])


def one_step(model, images, labels, lambda_=LAMBDA, **overrides):
    config = Config.model_validate({"train": {"steps": 10}, **overrides})
    accelerator = Accelerator(cpu=True)
    objective = OBJECTIVES[config.objective.name]
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    model, optimizer = accelerator.prepare(model, optimizer)
    meter = Meter(accelerator, objective)
    meter.watch_reversed_gradient(model)
    batch = SimpleNamespace(step=0, images=images, labels=labels)
    _update(config, accelerator, model, optimizer, batch, lambda b: b.images, objective, None, lambda_, meter)
    return model, meter


def step_by_hand(model, images, labels):
    """theta_f -= mu (dLy - lambda dLd), theta_y -= mu dLy, theta_d -= mu dLd, by plain autograd without a reversal."""
    rows = len(images) // 2
    extractor, labeller, judge = model.feature_extractor, model.label_predictor, model.domain_classifier
    features = extractor(images)
    class_loss = F.cross_entropy(labeller(features[:rows]), labels[:rows])
    p = torch.sigmoid(judge(features).squeeze(1))
    domain_loss = -torch.log(1 - p[:rows]).mean() - torch.log(p[rows:]).mean()
    groups = [list(part.parameters()) for part in (extractor, labeller, judge)]
    d_class = torch.autograd.grad(class_loss, groups[0] + groups[1], retain_graph=True)
    d_domain = torch.autograd.grad(domain_loss, groups[0] + groups[2])
    k = len(groups[0])
    with torch.no_grad():
        for parameter, on_class, on_domain in zip(groups[0], d_class[:k], d_domain[:k], strict=True):
            parameter -= LR * (on_class - LAMBDA * on_domain)
        for parameter, gradient in zip(groups[1], d_class[k:], strict=True):
            parameter -= LR * gradient
        for parameter, gradient in zip(groups[2], d_domain[k:], strict=True):
            parameter -= LR * gradient


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_a_step_equals_the_one_derived_by_hand(accumulate):
    images, labels = tiny_batch()
    by_hand = tiny_model()
    step_by_hand(by_hand, images, labels)
    model, _ = one_step(tiny_model(), images, labels, train={"steps": 10, "accumulate": accumulate})
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, by_hand.get_parameter(name), msg=name)


def test_lambda_reaches_the_encoder_only():
    images, labels = tiny_batch()
    weak, _ = one_step(tiny_model(), images, labels, lambda_=0.0)
    strong, _ = one_step(tiny_model(), images, labels, lambda_=1.0)
    for part, same in (("domain_classifier", True), ("label_predictor", True), ("feature_extractor", False)):
        pairs = zip(weak.get_submodule(part).parameters(), strong.get_submodule(part).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == same, part


def test_the_meter_measures_the_gradient_that_arrives():
    images, labels = tiny_batch()
    model = tiny_model()
    features = model.feature_extractor(images).detach().requires_grad_()
    logits = model.domain_classifier(features).squeeze(1)
    rows = len(images) // 2
    loss = F.softplus(logits[:rows]).mean() + F.softplus(-logits[rows:]).mean()
    (gradient,) = torch.autograd.grad(loss, features)
    model, meter = one_step(model, images, labels)
    assert meter.read(model)["domain/reversed_gradient_norm"] == pytest.approx(
        LAMBDA * gradient.norm().item(), rel=1e-5
    )


def test_the_domain_classifier_learns_and_the_encoder_feels_it():
    """An inert classifier (a softmax over one logit, say) would leave its loss at 2 ln 2 and pass nothing back."""
    torch.manual_seed(0)
    images = torch.cat([torch.randn(64, 4) - 2, torch.randn(64, 4) + 2])
    labels = torch.zeros(128, dtype=torch.long)
    model = tiny_model().float()
    optimizer = torch.optim.SGD(model.domain_classifier.parameters(), lr=0.5)
    objective = OBJECTIVES["dann"]
    for _ in range(50):
        output = model(images, 1.0)
        loss = objective.loss(output, labels, torch.tensor(1.0), Config().objective, None)
        model.zero_grad()
        loss.total.backward()
        optimizer.step()
    accuracy = ((output.domain_logits > 0) == (torch.arange(128) >= 64)).float().mean()
    assert accuracy > 0.95
    assert loss.domain_loss < 0.5
    model.zero_grad()
    output = model(images, 1.0)
    objective.loss(output, labels, torch.tensor(1.0), Config().objective, None).domain_loss.backward()
    assert sum(p.grad.abs().sum() for p in model.feature_extractor.parameters()) > 1e-3


def test_domain_loss_is_a_mean_per_domain():
    """Twice as many source rows must not weigh twice: eq. 10 sums two means."""
    from job.methods.terms import domain_loss

    source, target = torch.tensor([0.3, -0.2]), torch.tensor([1.0, 0.4])
    torch.testing.assert_close(domain_loss(source.repeat(3), target), domain_loss(source, target))
    torch.testing.assert_close(domain_loss(torch.zeros(5), torch.zeros(3)).item(), 2 * torch.tensor(2.0).log().item())


def test_no_batch_norm_in_the_domain_classifier():
    from job.config.schema import Model
    from job.models.build import build_model

    for backbone in ("compact", "mnist", "resnet18"):
        model = build_model(Model(backbone=backbone), 48, 7, seed=0)
        assert not any("Norm" in type(m).__name__ for m in model.domain_classifier.modules())


def test_a_gradient_that_overflows_in_half_precision_is_no_alarm():
    images, labels = tiny_batch()
    _, meter = one_step(tiny_model(), images, labels)
    meter._squared_gradient.fill_(float("inf"))
    names = [set(meter.read(SimpleNamespace(), scale)) for scale in (65536.0, None)]
    assert names[1] - names[0] == {"domain/reversed_gradient_norm"}
