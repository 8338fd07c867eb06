"""Augmentation in batches: exact where it can be, the same for both domains, driven by the draws alone."""

import math

import cv2
import numpy as np
import pytest
import torch

from job.config.data import Augment
from job.config.load import build_config
from job.shards.reading import augment as module
from job.shards.reading.augment import DRAWN, colour, normalise, place, standardised
from job.shards.reading.augment_draws import draw
from job.shards.reading.batch_loader import Batch
from job.shards.reading.prepare import Preparation
from job.shards.reading.strong_view import BLUR, ERASE, GREY, retouch

NOTHING = Augment(flip=False, rotate=0, shift=0, scale=(1, 1), brightness=0, contrast=0)
PLAIN = {"mean": (0, 0, 0), "std": (1, 1, 1)}
MIDDLE = 0.5  # the draw that changes nothing: the middle of every range


@pytest.fixture
def images():
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    return torch.from_numpy(np.stack([cv2.resize(image, (32, 32), interpolation=cv2.INTER_CUBIC) for image in small]))


def drawn(n, **values):
    """Draws that change nothing but what is named, by column."""
    draws = torch.full((n, 28), MIDDLE)
    for column, value in values.items():
        draws[:, getattr(module, column)] = value
    return draws


def augment(images, draws, augmentation, mean, std, channels_last=False):
    return colour(place(images, draws, augmentation), draws, augmentation, mean, std, channels_last)


def planes(images):
    return images.permute(0, 3, 1, 2).float() / 255


def test_normalise(images):
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    expected = (planes(images) - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    for channels_last in (False, True):
        made = normalise(images, mean, std, channels_last)
        torch.testing.assert_close(made, expected)
        wanted = torch.channels_last if channels_last else torch.contiguous_format
        assert made.is_contiguous(memory_format=wanted)


def test_nothing_changes_when_everything_is_off(images):
    made = augment(images, torch.rand(6, 16), NOTHING, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    torch.testing.assert_close(made, normalise(images, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)))


def test_the_middle_of_every_range_changes_nothing(images):
    made = augment(images, drawn(6), Augment(), **PLAIN)
    torch.testing.assert_close(made, planes(images), atol=1.01 / 255, rtol=0)


def test_flip_is_exact_and_takes_half(images):
    only_flip = Augment(flip=True, rotate=0, shift=0, scale=(1, 1), brightness=0, contrast=0)
    draws = torch.rand(6, 16)
    draws[:, module.FLIP] = torch.tensor([0.0, 0.49, 0.5, 0.99, 0.2, 0.8])
    made = augment(images, draws, only_flip, **PLAIN)
    flipped = torch.tensor([True, True, False, False, True, False])
    torch.testing.assert_close(made[flipped], planes(images)[flipped].flip(3))
    torch.testing.assert_close(made[~flipped], planes(images)[~flipped])


def test_flip_is_the_same_when_pixels_are_resampled(images):
    made = augment(images, drawn(6, FLIP=0.1), Augment(), **PLAIN)
    torch.testing.assert_close(made, planes(images).flip(3), atol=1.01 / 255, rtol=0)


@pytest.mark.parametrize(("column", "draw"), [("ROTATE", 0.9), ("ROTATE", 0.1)])
def test_rotation_is_that_of_torchvision(images, column, draw):
    transforms = pytest.importorskip("torchvision.transforms.v2.functional", reason="torchvision is not installed")
    made = augment(images, drawn(6, **{column: draw}), Augment(rotate=90.0), **PLAIN)
    degrees = -90.0 * (2 * draw - 1)  # ours turn with the clock, in a range to either side
    expected = transforms.rotate(planes(images), degrees, transforms.InterpolationMode.BILINEAR)
    inside = _disc(32)
    assert (made - expected).abs()[:, :, inside].max() < 0.02
    assert (made - planes(images)).abs()[:, :, inside].max() > 0.1


def test_shift_and_scale_have_the_configured_size(images):
    shifted = augment(images, drawn(6, SHIFT_X=1.0), Augment(shift=0.25), **PLAIN)
    torch.testing.assert_close(shifted[..., 8:], planes(images)[..., :-8], atol=1.01 / 255, rtol=0)
    torch.testing.assert_close(shifted[..., :8], planes(images)[..., :1].expand(-1, -1, -1, 8), atol=1.01 / 255, rtol=0)
    down = augment(images, drawn(6, SHIFT_Y=0.0), Augment(shift=0.25), **PLAIN)
    torch.testing.assert_close(down[:, :, :-8], planes(images)[:, :, 8:], atol=1.01 / 255, rtol=0)
    double = augment(images, drawn(6, SCALE=1.0), Augment(scale=(1.0, 2.0)), **PLAIN)
    middle = torch.nn.functional.interpolate(planes(images)[:, :, 7:25, 7:25], scale_factor=2, mode="bilinear")
    torch.testing.assert_close(double, middle[:, :, 2:-2, 2:-2], atol=1.5 / 255, rtol=0)


def test_colour(images):
    bright = augment(images, drawn(6, BRIGHTNESS=1.0), Augment(brightness=0.2), **PLAIN)
    torch.testing.assert_close(bright, planes(images) + 0.2, atol=1.5 / 255, rtol=0)
    dull = augment(images, drawn(6, CONTRAST=0.0), Augment(contrast=0.2), **PLAIN)
    torch.testing.assert_close(dull, (planes(images) - 0.5) * 0.8 + 0.5, atol=1.5 / 255, rtol=0)
    negative = augment(images, drawn(6, INVERT=0.3), Augment(invert=0.4), **PLAIN)
    torch.testing.assert_close(negative, 1 - planes(images), atol=1.5 / 255, rtol=0)
    positive = augment(images, drawn(6, INVERT=0.5), Augment(invert=0.4), **PLAIN)
    torch.testing.assert_close(positive, planes(images), atol=1.5 / 255, rtol=0)


def test_a_cpu_and_a_gpu_resample_alike(images):
    """OpenCV on bytes and grid_sample agree but for the rounding; the latter is what runs on a GPU."""
    affine = module._affine(torch.rand(6, 16), Augment(rotate=40.0, shift=0.2, scale=(0.7, 1.4)))
    warped = module._warp(images, affine).permute(0, 3, 1, 2).float()
    sampled = module._sample(images.permute(0, 3, 1, 2).float(), affine)
    difference = (warped - sampled).abs()
    assert difference.mean() < 1.0
    assert difference.max() < 12.0  # OpenCV 4 rounds places to a 32nd of a pixel


def test_an_image_is_changed_alike_whatever_else_is_in_the_batch(images):
    """Both domains and any split over ranks: a row depends on its pixels and its draws alone."""
    draws = torch.rand(6, 16)
    whole = augment(images, draws, Augment(), (0.5,) * 3, (0.5,) * 3)
    parts = [augment(images[i : i + 2], draws[i : i + 2], Augment(), (0.5,) * 3, (0.5,) * 3) for i in (0, 2, 4)]
    assert torch.equal(torch.cat(parts), whole)
    twice = augment(torch.cat([images, images]), torch.cat([draws, draws]), Augment(), (0.5,) * 3, (0.5,) * 3)
    assert torch.equal(twice[:6], twice[6:])


def test_the_input_is_not_changed_and_torch_randomness_is_not_used(images):
    before, state = images.clone(), torch.get_rng_state()
    augment(images, drawn(6, FLIP=0.1), Augment(), **PLAIN)
    augment(images, drawn(6, FLIP=0.1), NOTHING, **PLAIN)
    normalise(images, **PLAIN)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)


def _disc(size):
    places = torch.arange(size) - (size - 1) / 2
    return places[:, None].square() + places.square() < (size / 2 - 2 / math.sqrt(2)) ** 2


@pytest.mark.parametrize("augmentation", [Augment(invert=0.5), NOTHING, Augment(rotate=0, shift=0, scale=(1, 1))])
def test_the_memory_format_does_not_change_a_bit(images, augmentation):
    draws = torch.rand(6, 16)
    planes, interleaved = (
        augment(images, draws, augmentation, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), f) for f in (False, True)
    )
    assert torch.equal(planes, interleaved)


def test_the_second_view_is_the_target_again_with_other_draws(images):
    draws = torch.rand(6, 2 * DRAWN)
    batch = Batch(0, images, torch.zeros(6, dtype=torch.int64), draws)
    preparation = Preparation(Augment(), (0, 0, 0), (1, 1, 1), False, torch.device("cpu"), views=2)
    made = preparation(preparation.on_host(batch))
    torch.testing.assert_close(made[:6], augment(images, draws, Augment(), **PLAIN), rtol=0, atol=0)
    again = augment(images[3:], draws[3:, DRAWN:], Augment(), **PLAIN)
    torch.testing.assert_close(made[6:], again, rtol=0, atol=0)


def test_a_random_resized_crop_is_the_rectangle_that_was_drawn(images):
    """A quarter of the area at the lower left, and a half that is twice as wide as high in the middle."""
    quarter = {"crop": (0.1, 0.25), "crop_aspect": (1, 1)}
    made = augment(images, drawn(6, CROP_AREA=1.0, CROP_X=0.0, CROP_Y=1.0), NOTHING.model_copy(update=quarter), **PLAIN)
    expected = torch.nn.functional.interpolate(planes(images)[:, :, 16:, :16], scale_factor=2, mode="bilinear")
    assert (made - expected)[:, :, 1:-1, 1:-1].abs().max() < 1.5 / 255
    wide = {"crop": (0.5, 0.5), "crop_aspect": (2, 2)}
    affine = module._affine(drawn(6), NOTHING.model_copy(update=wide))
    torch.testing.assert_close(affine, torch.tensor([[1.0, 0, 0], [0, 0.5, 0]]).expand(6, 2, 3))


def test_a_crop_comes_before_the_flip_and_the_rotation(images):
    """Points of the result lie in the rectangle of the crop, whatever else is drawn."""
    draws = torch.rand(500, 28, generator=torch.Generator().manual_seed(0))
    affine = module._affine(draws, NOTHING.model_copy(update={"crop": (0.2, 0.6), "flip": True}))
    corners = affine @ torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, 1, 1, 1]])
    assert corners.abs().max() <= 1 + 1e-6
    sides = (corners.amax(2) - corners.amin(2)) / 2
    area, aspect = sides.prod(1), sides[:, 0] / sides[:, 1]
    assert (area.min() > 0.2 - 1e-4, area.max() < 0.6 + 1e-4, area.std() > 0.1) == (True, True, True)
    assert (aspect.min() > 0.75 - 1e-3, aspect.max() < 1.34) == (True, True)
    assert (affine[:, 0, 0] < 0).float().mean() == pytest.approx(0.5, abs=0.1)


def test_an_ordinary_view_loses_colour_is_blurred_and_erased_with_these_probabilities(images):
    draws = torch.full((6, 24), 0.5)
    draws[1, GREY], draws[2, BLUR], draws[3, ERASE] = 0.1, 0.1, 0.1
    made = retouch(images, draws, Augment(grayscale=0.2, blur=0.2, erase=0.2))
    assert torch.equal(made[[0, 4, 5]], images[[0, 4, 5]])
    assert (made[1].amax(2) - made[1].amin(2)).max() == 0
    assert 0 < (made[2].int() - images[2].int()).abs().float().mean() < 40
    assert (made[3] != images[3]).any(2).float().mean() == pytest.approx((0.4 * (0.25 + 0.75 / 2)) ** 2, abs=0.02)


@pytest.mark.parametrize(("views", "strong"), [(1, False), (2, True)])
def test_further_augmentation_changes_no_draw_of_the_rest(images, views, strong):
    """Switched on with a probability of almost 0, it leaves every view as it is without it."""
    made = []
    for augmentation in (Augment(), Augment(grayscale=1e-9, blur=1e-9, erase=1e-9)):
        preparation = Preparation(augmentation, (0.5,) * 3, (0.5,) * 3, False, torch.device("cpu"), views, 2, strong)
        draws = torch.from_numpy(draw(3, 7, "target", np.arange(6), preparation.draws))
        made.append(preparation(preparation.on_host(Batch(7, images, torch.zeros(6, dtype=torch.int64), draws))))
    assert torch.equal(*made)


def test_every_view_has_draws_of_its_own_and_a_row_depends_on_itself_alone(images):
    augmentation = Augment(crop=(0.3, 0.9), grayscale=0.3, blur=0.5, erase=0.5)
    device = torch.device("cpu")
    preparation = Preparation(augmentation, (0.5,) * 3, (0.5,) * 3, False, device, 2, 1, True, standardize=True)

    def prepared(rows):
        draws = torch.from_numpy(draw(3, 7, "target", np.arange(6)[rows], preparation.draws))
        batch = Batch(7, images[rows], torch.zeros(len(draws), dtype=torch.int64), draws)
        return preparation(preparation.on_host(batch)).chunk(3)

    whole = prepared(slice(0, 6))
    parts = [prepared(slice(first, first + 2)) for first in (0, 2, 4)]  # as on three ranks
    for number, view in enumerate(whole):
        assert torch.equal(torch.cat([part[number] for part in parts]), view)
    assert (whole[0] - whole[1]).abs().mean() > 0.1
    assert (whole[0] - whole[2]).abs().mean() > 0.1


def test_standardised_images_have_mean_0_and_deviation_1(images):
    blank = torch.cat([images, torch.full_like(images[:1], 77)])
    made = normalise(blank, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), standardize=True)
    plain = normalise(blank, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    expected = (plain - plain.mean((1, 2, 3), True)) / plain.std((1, 2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(made[:6], expected[:6], atol=1e-4, rtol=1e-4)
    assert made[6].isfinite().all()
    again = normalise(blank, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), channels_last=True, standardize=True)
    assert torch.equal(again, made)
    torch.testing.assert_close(standardised(3 * plain[:6] + 2), made[:6], atol=1e-4, rtol=1e-4)


def test_runs_from_before_keep_their_fingerprint():
    off = {"augment": {"crop": None, "grayscale": 0, "blur": 0, "erase": 0}, "standardize": False}
    assert build_config({"data": off}, "t").fingerprint() == build_config({}, "t").fingerprint()
    on = [{"augment": {"crop": [0.5, 1]}}, {"augment": {"blur": 0.1}}, {"standardize": True}]
    assert len({build_config({"data": data}, "t").fingerprint() for data in (off, *on)}) == 4
