"""The own work of ranks, and the slowest of them."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from job.training import own_work
from job.training.own_work import LATEST, OwnWork, slowest


class Clock:
    """A clock that stands still but for `pass_by`."""

    def __init__(self) -> None:
        self.now = 0.0

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(own_work, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


class Network(nn.Module):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.seconds = clock, 0.001

    def forward(self, images):
        self.clock.pass_by(self.seconds)
        return images


def test_it_ends_with_the_first_forward_pass_of_a_step(clock):
    network = Network(clock)
    work = OwnWork(network, torch.device("cpu"))
    assert work.read() == 0
    network(torch.zeros(1))  # of an evaluation, before the step
    work.start()
    network.seconds = 0.02
    network(torch.zeros(1))
    network.seconds = 0.2
    network(torch.zeros(1))  # of a second phase
    work.end()
    assert work.read() == pytest.approx(0.02)


def test_the_wait_for_data_counts_and_single_steps_do_not(clock):
    work = OwnWork(Network(clock), torch.device("cpu"))
    for step in range(2 * LATEST):
        work.start()
        clock.pass_by(0.2 if step == LATEST + 3 else 0.001)
        work.end()
    assert work.read() == pytest.approx(0.001)
    assert sum(work._times) / LATEST > 0.004  # with the single step
    for step in range(LATEST):
        work.start()
        clock.pass_by(0.012 if step % 4 == 0 else 0.001)  # a stall at every fourth step
        work.end()
    assert work.read() > 0.003


def test_while_torch_compile_traces_the_network_the_hook_does_nothing(clock, monkeypatch):
    """Dynamo cannot trace it, and would break the graph."""
    network = Network(clock)
    work = OwnWork(network, torch.device("cpu"))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    work.start()
    network(torch.zeros(1))
    assert work.read() == 0
    work.end()
    assert work.read() > 0


def test_the_slowest_rank_is_compared_with_the_median_one():
    assert slowest([0.010, 0.011, 0.016, 0.010]) == {
        "speed/slowest_rank": pytest.approx(1.6),
        "speed/slowest_rank_number": 2,
        "speed/rank_work_ms": pytest.approx(10),
    }
    assert slowest([0.010, 0.005])["speed/slowest_rank"] == pytest.approx(2)
    assert slowest([0.010]) == {}
    assert slowest([0.0, 0.0]) == {}
