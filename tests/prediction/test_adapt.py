"""Adaptation to the images that are predicted, and its refusals."""

import numpy as np
import pytest
import torch
from torch import nn

from job.config.load import build_config
from job.evaluation.load import Loaded
from job.methods.adabn import take_statistics
from job.methods.build import build_method
from job.methods.source_only import SourceOnly
from job.models.classifier import Classifier
from job.prediction.adapt import adapt, least_images
from job.shards.reading.augment import normalise
from job.system.errors import JobError

CPU = torch.device("cpu")
NAMES = ("dark", "light", "pale")
LEVELS = (60, 120, 180)


def images(count=96, shift=0, classes=(0, 1, 2)):
    """Even grey images of three levels, and their classes."""
    rng = np.random.default_rng(0)
    labels = np.array(classes)[np.arange(count) % len(classes)]
    values = np.array(LEVELS)[labels] / 2 + shift + rng.normal(0, 3, count)
    pixels = np.broadcast_to(values[:, None, None, None], (count, 8, 8, 3))
    return pixels.clip(0, 255).astype(np.uint8), labels


def model():
    """A network that tells the levels apart: its BatchNorm has the statistics of unshifted images."""
    look = nn.Conv2d(3, 1, 1, bias=False)
    nn.init.constant_(look.weight, 1 / 3)
    extractor = nn.Sequential(look, nn.BatchNorm2d(1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classes = nn.Linear(1, 3)
    classes.weight.data = torch.tensor([[-4.0], [0.0], [4.0]])
    classes.bias.data = torch.tensor([-2.5, 0.0, -2.5])
    config = build_config({"name": "x", "objective": {"name": "source_only"}}, "test")
    method = SourceOnly(Classifier(extractor, classes, width=1, classes=3), config.objective)
    made = Loaded(method.eval(), config, NAMES, 8, 95, "center", False, 1)
    pixels = torch.from_numpy(images()[0])
    take_statistics(method.network, [normalise(pixels, config.data.mean, config.data.std)])
    return made


def accuracy(loaded, pixels, labels):
    from job.predict import log_probabilities

    return (log_probabilities(loaded, pixels, CPU).argmax(1) == labels).mean()


@pytest.mark.parametrize("kind", ["bn", "tent"])
def test_a_shift_of_brightness_is_undone(kind):
    pixels, labels = images(shift=40)
    loaded = model()
    assert accuracy(loaded, *images()) == 1
    before = accuracy(loaded, pixels, labels)
    adapt(loaded, kind, pixels, CPU)
    assert before < 0.8
    assert accuracy(loaded, pixels, labels) == 1
    assert not any(module.training for module in loaded.model.modules())


def test_tent_makes_predictions_more_certain_by_scales_and_offsets_alone():
    from job.predict import log_probabilities

    pixels, _ = images(shift=40)
    entropies, states = [], []
    for kind in ("bn", "tent"):
        loaded = model()
        adapt(loaded, kind, pixels, CPU)
        logs = log_probabilities(loaded, pixels, CPU)
        entropies.append(-(np.exp(logs) * logs).sum(1).mean())
        states.append(loaded.model.state_dict())
    assert entropies[1] < 0.98 * entropies[0]
    changed = {name for name in states[0] if not torch.equal(states[0][name], states[1][name])}
    assert changed == {"network.feature_extractor.1.weight", "network.feature_extractor.1.bias"}


def test_too_few_images_are_refused_with_the_number_needed():
    assert (least_images(3), least_images(7)) == (64, 70)
    with pytest.raises(JobError, match="--adapt bn needs 64 images that can be read, for 3 classes, and there are 63"):
        adapt(model(), "bn", images(63)[0], CPU)


def test_images_of_one_class_are_refused():
    loaded = model()
    with pytest.raises(JobError, match="--adapt tent: 100 % of the images are predicted to be pale"):
        adapt(loaded, "tent", images(classes=(2,))[0], CPU)


def test_a_network_without_batchnorm_is_refused():
    config = build_config({"name": "x", "model": {"backbone": "compact", "batch_norm": "none"}}, "test")
    loaded = Loaded(build_method(config, 48, 3).eval(), config, NAMES, 48, 95, "center", False, 1)
    with pytest.raises(JobError, match="--adapt bn changes BatchNorm layers, and compact has none"):
        adapt(loaded, "bn", np.zeros((100, 48, 48, 3), np.uint8), CPU)
