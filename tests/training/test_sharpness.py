"""`optimizer.sam_rho`: the gradient at weights that are moved uphill on the class loss alone (Rangwani et al. 2022)."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from job.methods.terms import domain_loss
from job.system.errors import JobError
from tests.support.networks import tiny_batch, tiny_method, tiny_network, with_batch_norm
from tests.support.running import (
    assert_killed_and_resumed_equals,
    assert_same_weights,
    assert_stopped_and_resumed_equals,
    finish,
    start,
    weights,
)
from tests.support.steps import LR, MOMENTUM, learner_for, loaded, one_step

RHO = 0.3
SAM = {"lr": LR, "momentum": MOMENTUM, "schedule": "constant", "sam_rho": RHO}
RUN = {"optimizer": {"sam_rho": 0.1}, "train": {"steps": 16, "eval_every": 8, "checkpoint_every": 5}}


def test_a_step_equals_the_one_derived_by_hand():
    """DANN: the domain classifier is not moved, and the step starts at the weights before the move."""
    by_hand, method = (tiny_method("dann") for _ in range(2))
    batch, rows = tiny_batch(method), 8
    network = list(by_hand.network.parameters())
    ascent = torch.autograd.grad(
        F.cross_entropy(by_hand.network(batch.images[:rows]).class_logits, batch.labels), network
    )
    length = torch.cat([part.flatten() for part in ascent]).norm()
    before = [parameter.detach().clone() for parameter in network]
    with torch.no_grad():
        for parameter, part in zip(network, ascent, strict=True):
            parameter += RHO * part / length
    output = by_hand.network(batch.images)
    lambda_ = by_hand.adversary.lambda_at(torch.tensor(0.5, dtype=torch.float64))
    domains = by_hand.adversary(output.features, lambda_)
    total = F.cross_entropy(output.class_logits[:rows], batch.labels) + domain_loss(domains[:rows], domains[rows:])
    parameters = list(by_hand.parameters())
    gradients = torch.autograd.grad(total, parameters)
    with torch.no_grad():
        for parameter, value in zip(network, before, strict=True):
            parameter.copy_(value)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= LR * gradient
    one_step(method, batch, optimizer=SAM)
    for name, parameter in method.named_parameters():
        torch.testing.assert_close(parameter, by_hand.get_parameter(name), msg=name)


def test_shares_of_a_batch_give_the_step_of_the_whole_batch():
    whole, shared = (tiny_method("dann") for _ in range(2))
    batch = tiny_batch(whole)
    one_step(whole, batch, optimizer=SAM)
    one_step(shared, batch, optimizer=SAM, train={"steps": 10, "accumulate": 4})
    for name, parameter in shared.named_parameters():
        torch.testing.assert_close(parameter, whole.get_parameter(name), msg=name)


def test_statistics_of_batch_norm_are_updated_once_at_the_weights_themselves():
    plain, moved = (tiny_method("dann", network=tiny_network(layers=with_batch_norm())) for _ in range(2))
    batch = tiny_batch(plain)
    moved.load_state_dict(plain.state_dict())
    one_step(plain, batch)
    one_step(moved, batch, optimizer=SAM)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(moved.get_buffer(name), buffer, msg=name)
    assert not torch.equal(next(moved.parameters()), next(plain.parameters()))


def test_both_passes_draw_the_same_dropout_masks():
    masks = []

    class Seen(nn.Dropout):
        def forward(self, rows):
            kept = super().forward(torch.ones_like(rows))
            masks.append(kept)
            return rows * kept

    layers = nn.Sequential(nn.Linear(4, 5), Seen(0.5))
    method = tiny_method("source_only", network=tiny_network(layers=layers))
    learner = learner_for(method, optimizer=SAM)
    for step in (0, 1):
        learner.update(loaded(tiny_batch(method), method, step))
    first, second, later, again = masks
    assert torch.equal(first, second)
    assert torch.equal(later, again)
    assert not torch.equal(first, later)


@pytest.mark.parametrize("name", ["mcd"])
def test_a_method_of_several_updates_is_refused(name):
    with pytest.raises(JobError, match=rf"optimizer\.sam_rho=0\.3 cannot be used with objective\.name={name}"):
        learner_for(tiny_method(name), optimizer=SAM)


def test_half_precision_is_refused_and_0_turns_it_off(small):
    with pytest.raises(JobError, match="use bf16"):
        small(optimizer={"sam_rho": 0.1}, train={"precision": "fp16"})
    assert small(optimizer={"sam_rho": 0}).fingerprint() == small().fingerprint()


@pytest.mark.slow
def test_stopped_and_resumed_a_run_ends_with_the_same_weights(small):
    norm = {"batch_norm": "mixed", "dropout": 0.3}
    whole, stopped = (small(name=name, model=norm, **RUN) for name in ("whole", "stopped"))
    assert_stopped_and_resumed_equals(stopped, whole)


@pytest.mark.slow
def test_killed_and_resumed_a_run_ends_with_the_same_weights_and_two_ranks_agree(small, tmp_path):
    whole, killed, two = (small(name=name, **RUN) for name in ("whole", "killed", "two"))
    assert_killed_and_resumed_equals(killed, whole, tmp_path, 7)
    finish(start(two, tmp_path, ranks=2))
    assert_same_weights(weights(two), weights(whole), tolerance=2e-4)
