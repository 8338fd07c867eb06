"""optimizer.fused: the same updates in one kernel, chosen by the device and not by the checkpoint."""

import copy

import pytest
import torch

from job.config.schema import Optimizer
from job.training.optimizer import build_optimizer, load_optimizer
from tests.support.networks import tiny_method

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def fused_of(**arguments):
    settings = Optimizer(**{key: value for key, value in arguments.items() if key != "device"})
    optimizer = build_optimizer(tiny_method("dann"), settings, arguments.get("device", CPU))
    return {group["fused"] for group in optimizer.param_groups}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_updates_are_fused_on_a_gpu_alone_unless_the_user_decides(name):
    assert fused_of(name=name) == fused_of(name=name, device=None) == {None}
    assert fused_of(name=name, device=GPU) == {True}
    assert fused_of(name=name, device=GPU, fused=False) == {None}
    assert fused_of(name=name, fused=True) == {True}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("first", [True, False])
def test_a_state_may_come_from_the_other_kind_of_update(name, first):
    def trained(fused: bool):
        method = tiny_method("dann").float()
        return method, build_optimizer(method, Optimizer(name=name, lr=0.1, fused=fused, momentum=0.9))

    def update(method, optimizer, seed):
        torch.manual_seed(seed)
        for parameter in method.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()

    method, optimizer = trained(first)
    update(method, optimizer, 1)
    follower, other = trained(not first)
    follower.load_state_dict(method.state_dict())
    load_optimizer(other, copy.deepcopy(optimizer.state_dict()))
    assert {bool(group["fused"]) for group in other.param_groups} == {not first}
    update(method, optimizer, 2)
    update(follower, other, 2)
    for one, another in zip(method.parameters(), follower.parameters(), strict=True):
        torch.testing.assert_close(one, another)
