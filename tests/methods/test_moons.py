"""Inter-twinning moons, the target turned by 35 degrees, on the shallow network of Ganin et al. 2016, sec. 5.1.1.

In double precision: 3,000 steps blow the last bits of single precision, another on every processor, up to whole points.
"""

import math

import pytest
import torch
from sklearn.datasets import make_moons
from torch import nn

from job.config.schema import Objective
from job.methods import OBJECTIVES
from job.models.dann import DANN, head
from job.training.schedules import lambda_at

HIDDEN, STEPS = 15, 3000


def moons(seed: int, degrees: float = 0.0):
    points, labels = make_moons(300, noise=0.05, random_state=seed)
    angle, centre = math.radians(degrees), points.mean(0)
    turn = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    return torch.tensor((points - centre) @ turn + centre, dtype=torch.float64), torch.tensor(labels)


def target_accuracy(name: str, seed: int) -> float:
    source, labels = moons(seed)
    target, target_labels = moons(1000 + seed, 35)
    torch.manual_seed(seed)
    model = DANN(nn.Sequential(nn.Linear(2, HIDDEN), nn.Sigmoid()), head(HIDDEN, (), 2), head(HIDDEN, (), 1)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    objective, settings = OBJECTIVES[name], Objective(name=name)
    batch = torch.cat([source, target]) if len(objective.DOMAINS) == 2 else source
    labels = torch.cat([labels, torch.full((len(batch) - len(labels),), -1)])
    for step in range(STEPS):
        lambda_ = torch.tensor(lambda_at(step, STEPS, settings), dtype=torch.float64)
        optimizer.zero_grad()
        objective.loss(model(batch, lambda_), labels, lambda_, settings, None).total.backward()
        optimizer.step()
    with torch.no_grad():
        return (model(target).class_logits.argmax(1) == target_labels).float().mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_dann_beats_the_plain_network_by_five_points(seed):
    assert target_accuracy("dann", seed) >= target_accuracy("source_only", seed) + 0.05
