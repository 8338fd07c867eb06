"""Toy problems: every method beats the plain network, on five seeds, on a shift that it is made for.

In double precision: hundreds of steps blow the last bits of single precision, another on every processor, up to whole
points.
"""

import copy
import math
import statistics
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from sklearn.datasets import make_blobs, make_moons
from torch import Tensor, nn

from job.methods import METHODS
from job.methods.base import Method
from job.methods.batch import STRONG_VIEW, TrainingBatch
from tests.support.networks import tiny_method, tiny_network
from tests.support.steps import learner_for, loaded

SGD = {"lr": 0.5, "momentum": 0.9, "schedule": "constant"}
ADAM = {"name": "adamw", "lr": 0.01, "schedule": "constant"}


def moons(seed: int, target: bool) -> tuple[Tensor, Tensor]:
    """Inter-twinning moons (Ganin et al. 2016, sec. 5.1.1); the target is turned by 35 degrees."""
    points, labels = make_moons(300, noise=0.05, random_state=seed + 1000 * target)
    angle, centre = math.radians(35 if target else 0), points.mean(0)
    turn = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    return torch.tensor((points - centre) @ turn + centre), torch.tensor(labels)


def blobs(seed: int, target: bool, *, scale=(1.0, 1.0), shift=(0.0, 0.0)) -> tuple[Tensor, Tensor]:
    """Five blobs on a circle; the target's points are stretched and shifted."""
    centres = [(math.cos(2 * math.pi * k / 5), math.sin(2 * math.pi * k / 5)) for k in range(5)]
    points, labels = make_blobs(200, centers=centres, cluster_std=0.15, random_state=seed + 1000 * target)
    points = torch.tensor(points)
    return (points * torch.tensor(scale) + torch.tensor(shift) if target else points), torch.tensor(labels)


def shifted_blobs(seed: int, target: bool) -> tuple[Tensor, Tensor]:
    return blobs(seed, target, shift=(0.8, 0.4))


def stretched_blobs(seed: int, target: bool) -> tuple[Tensor, Tensor]:
    return blobs(seed, target, scale=(1.8, 0.6), shift=(1.0, 0.5))


def misleading_blobs(seed: int, target: bool) -> tuple[Tensor, Tensor]:
    """Two blobs that differ in both coordinates; in the target the second, clearer one is wide noise."""
    points, labels = make_blobs(200, centers=[(-1, -1), (1, 1)], cluster_std=(0.35, 0.35), random_state=seed)
    points = torch.tensor(points)
    if target:
        generator = torch.Generator().manual_seed(seed)
        points[:, 1] = 3 * torch.randn(200, generator=generator, dtype=torch.float64)
    return points, torch.tensor(labels)


def turned_cue(seed: int, target: bool) -> tuple[Tensor, Tensor]:
    """Two blobs that differ in both coordinates; in the target the first is clearer and the second points elsewhere."""
    centres = [(-1.6, 1), (1.6, -1)] if target else [(-1, -1), (1, 1)]
    points, labels = make_blobs(200, centers=centres, cluster_std=0.5, random_state=seed + 1000 * target)
    return torch.tensor(points), torch.tensor(labels)


class Case(NamedTuple):
    data: Callable[[int, bool], tuple[Tensor, Tensor]]
    steps: int
    hidden: tuple[int, ...]
    activation: type[nn.Module]
    optimizer: dict
    settings: dict = {}  # noqa: RUF012
    batch_norm: bool = False


CASES = {
    "dann": Case(moons, 300, (15,), nn.Sigmoid, SGD),
    "cdan": Case(shifted_blobs, 150, (15,), nn.Tanh, ADAM),
    "mcd": Case(stretched_blobs, 100, (30, 30), nn.ReLU, {**ADAM, "lr": 0.03}),
    "coral": Case(misleading_blobs, 150, (8,), nn.Identity, ADAM, {"coral_weight": 10.0}),
    "shot": Case(shifted_blobs, 150, (15,), nn.Tanh, ADAM),
    "fixmatch": Case(moons, 120, (30, 30), nn.ReLU, ADAM),
    "adabn": Case(stretched_blobs, 150, (15,), nn.Tanh, ADAM, batch_norm=True),
    "mcc": Case(shifted_blobs, 150, (15,), nn.Tanh, ADAM),
    "dan": Case(shifted_blobs, 80, (15,), nn.Tanh, ADAM, {"weight": 5.0}),
    "deepjdot": Case(shifted_blobs, 80, (15,), nn.Tanh, ADAM),
    "afn": Case(turned_cue, 150, (8,), nn.Identity, {**SGD, "lr": 0.2}),
}


_TRAINED: dict[str, Method] = {}  # cases share plain networks, and two tests a method


def trained(name: str, case: Case, seed: int, **settings) -> Method:
    """The method after training, a source-free one from the weights of the plain network; not to be changed."""
    key = repr((name, case._replace(settings={}), seed, settings))
    if key not in _TRAINED:
        labels = case.data(seed, False)[1]
        torch.manual_seed(seed)
        layers, width = [], 2
        for units in case.hidden:
            norm = [nn.BatchNorm1d(units)] if case.batch_norm else []
            layers += [nn.Linear(width, units), *norm, case.activation()]
            width = units
        network = tiny_network(2, width, int(labels.max()) + 1, (), nn.Sequential(*layers))
        if METHODS[name].needs_trained_predictor:
            network = copy.deepcopy(trained("source_only", case, seed).network)
        method = tiny_method(name, seed, network, **settings)
        fit(method, case, seed)
        _TRAINED[key] = method
    return _TRAINED[key]


def target_accuracy(name: str, case: Case, seed: int, **settings) -> float:
    target, truth = case.data(seed, True)
    method = copy.deepcopy(trained(name, case, seed, **settings))
    method.before_evaluation(iter([target]))
    method.eval()
    with torch.no_grad():
        return (method.predict(target).class_logits.argmax(1) == truth).double().mean().item()


def fit(method: Method, case: Case, seed: int) -> None:
    """Train on all points at every step."""
    (source, labels), (target, _) = case.data(seed, False), case.data(seed, True)
    learner = learner_for(method, train={"steps": case.steps, "log_every": case.steps}, optimizer=case.optimizer)
    for step in range(case.steps):
        blocks = {"source": source, "target": target}
        if method.strong_view:
            blocks[STRONG_VIEW] = target + 0.2 * torch.randn(target.shape, dtype=target.dtype)
        batch = TrainingBatch(method.blocks, torch.cat([blocks[block] for block in method.blocks]), labels)
        learner.update(loaded(batch, method, step))


@pytest.fixture(autouse=True)
def _no_search_for_lomo(monkeypatch):
    """Accelerate searches all folders of sys.path for this package twice a step, an eighth of the time of these."""
    monkeypatch.setattr("accelerate.optimizer.is_lomo_available", lambda: False)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_it_beats_the_plain_network_by_five_points(name):
    case = CASES[name]
    plain = [target_accuracy("source_only", case, seed) for seed in range(5)]
    adapted = [target_accuracy(name, case, seed, **case.settings) for seed in range(5)]
    assert statistics.mean(adapted) >= statistics.mean(plain) + 0.05, (plain, adapted)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dann", "cdan"])
def test_with_class_confusion_it_beats_itself_without_by_five_points(name):
    case = CASES["mcc"]
    alone = [target_accuracy(name, case, seed) for seed in range(5)]
    both = [target_accuracy(name, case, seed, also=[{"name": "mcc"}]) for seed in range(5)]
    assert statistics.mean(both) >= statistics.mean(alone) + 0.05, (alone, both)
