"""The preparation inside an exported file gives the pixels of the shards."""

import cv2
import numpy as np
import pytest
import simplejpeg
import torch

from job.models.photo_input import PhotoInput
from job.shards.writing.encode import encode


def photo(height, width, seed=0):
    """A smooth picture with edges and some noise, as photos have."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 7, 3), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    smooth[height // 3 : height // 2, width // 4 : width // 2] = (230, 40, 90)
    return (smooth + rng.integers(-6, 7, smooth.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("crop", ["center", "none"])
@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(300, 451, 48), (96, 96, 48), (48, 48, 48), (30, 41, 48), (60, 40, 48), (61, 200, 60), (1, 1, 48), (50, 49, 48)],
)
def test_pixels_are_those_of_the_shards(crop, height, width, size):
    image = photo(height, width)
    jpeg = encode(image, size, 90, crop)
    wanted = simplejpeg.decode_jpeg(jpeg, "RGB").astype(int)
    made = PhotoInput(size, crop, 90)(torch.from_numpy(image)[None])
    assert made.shape == (1, 3, size, size)
    got = (made[0].permute(1, 2, 0) * 255).round().int().numpy()
    differences = np.abs(got - wanted)
    assert differences.mean() < 0.5, differences.mean()
    assert np.quantile(differences, 0.99) <= 4


@pytest.mark.parametrize("quality", [1, 30, 50, 75, 95, 100])
def test_every_quality_rounds_as_a_jpeg_does(quality):
    image = photo(48, 48, quality)
    wanted = simplejpeg.decode_jpeg(encode(image, 48, quality), "RGB").astype(int)
    got = (PhotoInput(48, "center", quality)(torch.from_numpy(image)[None])[0].permute(1, 2, 0) * 255).numpy()
    lost = np.abs(wanted - image.astype(int)).mean()
    assert np.abs(got - wanted).mean() < max(0.25 * lost, 0.3), "much nearer to the JPEG than the picture is"


def test_grey_images():
    image = photo(70, 90)
    wanted = simplejpeg.decode_jpeg(encode(image, 48, 90, gray=True), "RGB").astype(int)
    got = (PhotoInput(48, "center", 90, gray=True)(torch.from_numpy(image)[None])[0].permute(1, 2, 0) * 255).numpy()
    assert np.abs(got - wanted).mean() < 0.5


def test_photos_of_a_batch_do_not_mix():
    images = torch.from_numpy(np.stack([photo(70, 90, seed) for seed in range(3)]))
    prepare = PhotoInput(32, "center", 95)
    together = prepare(images)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], prepare(images[i : i + 1]))
