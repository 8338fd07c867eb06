"""Grad-CAM shows where the evidence lies."""

import numpy as np
import pytest
import torch
from torch import nn

from job.config.load import build_config
from job.evaluation.load import Loaded
from job.methods.build import build_method
from job.methods.source_only import SourceOnly
from job.models.classifier import Classifier
from job.prediction.grad_cam import heat_maps, overlay
from job.system.errors import JobError

SIZE = 32


def loaded(method, **settings):
    return Loaded(
        method.eval(), build_config({"name": "x", **settings}, "test"), ("red", "blue"), SIZE, 95, "center", False, 1
    )


@pytest.fixture
def colours():
    """A network whose class red is the amount of red, and whose class blue that of blue."""
    look = nn.Conv2d(3, 2, 1, bias=False)
    look.weight.data = torch.tensor([[1.0, -1, -1], [-1, -1, 1]])[:, :, None, None]
    extractor = nn.Sequential(look, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classes = nn.Linear(2, 2)
    classes.weight.data, classes.bias.data = torch.eye(2), torch.zeros(2)
    network = Classifier(extractor, classes, width=2, classes=2)
    return loaded(SourceOnly(network, build_config({"name": "x", "objective": {"name": "source_only"}}, "t").objective))


def picture():
    image = np.full((SIZE, SIZE, 3), 128, np.uint8)
    image[4:12, 4:12] = (255, 0, 0)
    image[20:28, 20:30] = (0, 0, 255)
    return image


def test_the_map_of_a_class_lies_on_its_evidence(colours):
    images = np.stack([picture(), picture(), np.full((SIZE, SIZE, 3), 128, np.uint8)])
    red, blue, nothing = heat_maps(colours, images, np.array([0, 1, 0]))
    assert red.shape == (SIZE, SIZE)
    assert red[4:12, 4:12].min() > 0.99
    assert red[20:28, 20:30].max() < 0.1
    assert blue[20:28, 20:30].min() > 0.99
    assert blue[4:12, 4:12].max() < 0.1
    assert np.ptp(nothing) == 0
    np.testing.assert_array_equal(heat_maps(colours, images[:1]), heat_maps(colours, images[:1], np.array([1])))


def test_an_overlay_colours_the_evidence_alone(colours):
    image = picture()
    (heat,) = heat_maps(colours, image[None], np.array([0]))
    shown = overlay(image, heat)
    assert shown.shape == (192, 192, 3)
    np.testing.assert_array_equal(shown[96 + 48 : 96 + 60, 130:160], np.broadcast_to((0, 0, 255), (12, 30, 3)))
    assert np.abs(shown[40:56, 40:56].astype(int) - (255, 0, 0)).mean() > 10


@pytest.mark.parametrize("backbone", ["compact", "resnet18"])
def test_networks_are_explained_with_a_map_of_their_last_stage(backbone):
    settings = {"model": {"backbone": backbone, "bottleneck": 8}}
    model = build_method(build_config({"name": "x", **settings}, "test"), SIZE, 2)
    with torch.inference_mode():  # as after a prediction
        model.eval()
    maps = heat_maps(loaded(model, **settings), np.stack([picture()] * 2))
    assert maps.shape == (2, SIZE, SIZE)
    assert maps.min() >= 0
    assert maps.max() <= 1
    assert all(parameter.grad is None for parameter in model.parameters())


class SelfAttention(nn.Identity):
    """The name says it."""


@pytest.mark.parametrize("last", [nn.Conv2d(3, 2, SIZE), nn.Sequential(nn.Conv2d(3, 2, 1), SelfAttention())])
def test_a_network_without_a_map_and_a_transformer_are_refused(last):
    extractor = nn.Sequential(last, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    settings = build_config({"name": "x", "objective": {"name": "source_only"}}, "t").objective
    with pytest.raises(JobError, match="Grad-CAM needs a convolutional network"):
        heat_maps(
            loaded(SourceOnly(Classifier(extractor, nn.Linear(2, 2), width=2, classes=2), settings)), picture()[None]
        )
