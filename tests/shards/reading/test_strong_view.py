"""The strong view: each change is correct, depends on pixels and draws alone, and leaves the other views unchanged."""

import cv2
import numpy as np
import pytest
import torch

from job.config.data import Augment, Strong
from job.config.load import build_config
from job.shards.reading import augment
from job.shards.reading import strong_view as module
from job.shards.reading.augment import DRAWN, normalise
from job.shards.reading.augment_draws import draw
from job.shards.reading.batch_loader import Batch
from job.shards.reading.prepare import Preparation
from job.shards.reading.strong_view import STRONG_DRAWN, strong_view

OFF = {"rotate": 0, "shift": 0, "scale": (1, 1), "brightness": 0, "contrast": 0, "saturation": 0, "tint": 0, "grey": 0}
OFF |= {"posterize": 0, "blur": 0, "erase": 0}
CPU = torch.device("cpu")


@pytest.fixture
def images():
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    return torch.from_numpy(np.stack([cv2.resize(image, (32, 32), interpolation=cv2.INTER_CUBIC) for image in small]))


def drawn(**values):
    """Draws in the middle of every range but for those named."""
    draws = torch.full((6, STRONG_DRAWN), 0.5)
    for column, value in values.items():
        draws[:, getattr(module, column, getattr(augment, column, None))] = value
    return draws


def only(flip=False, invert=0.0, **strong) -> Augment:
    return Augment(flip=flip, invert=invert, strong=Strong(**{**OFF, **strong}))


def made(images, draws, augmentation):
    """The view, and the same by the code for GPUs."""
    host = strong_view(images, draws, augmentation)
    moved = augment.place(images, draws, augmentation.strongest)
    changes = module._changes(draws, augmentation, images.shape[1])
    device = module._on_device(moved, changes, 3)
    assert device.dtype == host.dtype == torch.uint8
    assert (host.int() - device.int()).abs().max() <= 1
    return host


def test_nothing_changes_when_everything_is_off(images):
    assert torch.equal(made(images, torch.rand(6, STRONG_DRAWN), only()), images)


def test_grey_has_one_brightness_and_full_saturation_doubles_the_distance_from_it(images):
    grey = made(images, drawn(GREY=0.1), only(grey=0.2)).float()
    luma = (images.float() * torch.tensor(module.LUMA)).sum(3, keepdim=True)
    assert (grey - luma).abs().max() <= 1
    colourful = made(images, drawn(SATURATION=1.0), only(saturation=1)).float()
    assert (colourful - (2 * images.float() - luma).clamp(0, 255)).abs().max() <= 1


def test_tint_brightness_and_contrast(images):
    tinted = made(images, drawn(GREEN=1.0, BLUE=0.0), only(tint=0.2)).float()
    assert (tinted - (images * torch.tensor([1, 1.2, 0.8])).clamp(0, 255)).abs().max() <= 1
    bright = made(images, drawn(BRIGHTNESS=1.0, CONTRAST=0.0), only(brightness=0.2, contrast=0.5)).float()
    assert (bright - ((images - 127.5) * 0.5 + 127.5 + 51).clamp(0, 255)).abs().max() <= 1


def test_posterize_and_solarize(images):
    coarse = made(images, drawn(POSTERIZE=0.39), only(posterize=0.4))
    assert torch.equal(coarse, images // 16 * 16)  # 4 bits are lost
    assert torch.equal(made(images, drawn(POSTERIZE=0.4), only(posterize=0.4)), images)
    negative = made(images, drawn(SOLARIZE=0.25), only(solarize=0.5))
    assert torch.equal(negative, torch.where(images >= 128, 255 - images, images))


def test_blur_is_that_of_opencv_and_keeps_flat_images(images):
    blurred = made(images, drawn(BLUR=0.3), only(blur=0.4))
    sigma = module.SIGMA * 32 * 0.75
    expected = np.stack([cv2.GaussianBlur(image, (7, 7), sigma) for image in images.numpy()])
    assert (blurred[:, 4:-4, 4:-4].int() - torch.from_numpy(expected)[:, 4:-4, 4:-4].int()).abs().max() <= 1
    flat = torch.full_like(images, 77)
    assert torch.equal(made(flat, drawn(BLUR=0.3), only(blur=0.4)), flat)


def test_a_rectangle_is_erased(images):
    draws = drawn(ERASE=0.1, ERASE_WIDTH=1.0, ERASE_HEIGHT=0.0, ERASE_Y=0.25, FILL_RED=1.0, FILL_GREEN=0.0)
    erased = made(images, draws, only(erase=0.2, erase_side=0.5))
    expected = images.clone()
    expected[:, 6:10, 8:24] = torch.tensor([255, 0, 128], dtype=torch.uint8)
    assert torch.equal(erased, expected)


def test_flips_and_negatives_follow_the_ordinary_augmentation(images):
    draws = drawn(FLIP=0.1, INVERT=0.1)
    assert torch.equal(made(images, draws, only()), images)
    assert torch.equal(made(images, draws, only(flip=True)), images.flip(2))
    assert torch.equal(made(images, draws, only(invert=0.2)), 255 - images)
    follows = Augment(flip=False, invert=0.2, strong=Strong(**OFF, invert=0.0))
    assert torch.equal(made(images, draws, follows), images)


def test_cpu_and_gpu_agree_on_everything_at_once(images):
    """But for the geometry, which test_augment.py compares, and pixels that rounding moves over a level."""
    augmentation = Augment(strong=Strong(blur=1.0, posterize=0.0, solarize=0.5))
    draws = torch.from_numpy(draw(0, 1, "target", np.arange(6), STRONG_DRAWN))
    changes = module._changes(draws, augmentation, 32)
    host, device = module._on_host(images, changes, 3), module._on_device(images, changes, 3)
    difference = (host.int() - device.int()).abs()
    assert difference.float().mean() < 0.5
    assert (host.int() - images.int()).abs().float().mean() > 10


def test_a_row_depends_on_its_pixels_and_its_draws_alone(images):
    draws = torch.from_numpy(draw(3, 7, "target", np.arange(6), STRONG_DRAWN))
    state, before = torch.get_rng_state(), images.clone()
    whole = strong_view(images, draws, Augment())
    parts = [strong_view(images[i : i + 2], draws[i : i + 2], Augment()) for i in (0, 2, 4)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, before)
    other = torch.from_numpy(draw(3, 8, "target", np.arange(6), STRONG_DRAWN))
    assert not torch.equal(strong_view(images, other, Augment()), whole)


@pytest.mark.parametrize("views", [1, 2])
def test_the_ordinary_views_are_the_same_with_a_strong_one(images, views):
    """Of the target, and after all other rows: with the draws that follow those of the ordinary views."""
    results = {}
    for strong in (False, True):
        preparation = Preparation(Augment(), (0.5,) * 3, (0.5,) * 3, False, CPU, views=views, strong=strong)
        draws = torch.from_numpy(draw(3, 7, "target", np.arange(6), preparation.draws))
        results[strong] = preparation(preparation.on_host(Batch(7, images, torch.zeros(6, dtype=torch.int64), draws)))
    ordinary = 6 + 3 * (views - 1)
    assert torch.equal(results[True][:ordinary], results[False])
    expected = normalise(strong_view(images[3:], draws[3:, 2 * DRAWN :], Augment()), (0.5,) * 3, (0.5,) * 3)
    torch.testing.assert_close(results[True][ordinary:], expected)


def test_earlier_runs_keep_their_fingerprint():
    def config(**strong):
        return build_config({"data": {"augment": {"strong": strong}}}, "t")

    assert "strong" not in config().decisive()["data"]["augment"]
    assert config().fingerprint() == build_config({}, "t").fingerprint() != config(blur=0.9).fingerprint()
