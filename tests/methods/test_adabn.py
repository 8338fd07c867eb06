"""AdaBN: a step is supervised learning, and before an evaluation BatchNorm has the target's statistics."""

import pytest
import torch
import torch.nn.functional as F

from job.methods.adabn import batch_norms
from job.system.errors import JobError
from tests.support.networks import tiny_batch, tiny_method, tiny_network
from tests.support.steps import assert_same_parameters, descend, one_step


def test_a_step_equals_the_one_derived_by_hand():
    by_hand, method = (tiny_method("adabn") for _ in range(2))
    batch = tiny_batch(method)
    assert batch.names == ("source",)
    loss = F.cross_entropy(by_hand.network.train()(batch.images).class_logits, batch.labels)
    descend(loss, by_hand.parameters())
    one_step(method, batch)
    assert_same_parameters(method, by_hand)


def test_the_statistics_are_those_of_the_target():
    method = tiny_method("adabn").train()
    target = torch.randn(64, 4, dtype=torch.float64) * 3 + 2
    method.before_evaluation(iter(target.split(16)))
    hidden = method.network.feature_extractor[0](target).detach()
    (layer,) = batch_norms(method)
    torch.testing.assert_close(layer.running_mean, hidden.mean(0))
    expected = torch.stack([part.var(0) for part in hidden.split(16)]).mean(0)  # the mean over the batches
    torch.testing.assert_close(layer.running_var, expected)
    assert layer.momentum == 0.1
    assert method.training
    assert layer.training


def test_a_network_without_batch_norm_is_refused():
    with pytest.raises(JobError, match=r"model\.batch_norm=mixed"):
        tiny_method("adabn", network=tiny_network())
