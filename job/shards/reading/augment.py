"""Augment and normalise a whole batch on its device; both domains use the same code (docs/pitfalls.md).

All randomness comes from the batch's `draws`, so it is equal on any device and any number of ranks. All geometry is one
affine resampling, all colour one multiplication and one addition per image and channel. Images are square, with S
pixels an edge, as in the shards.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from job.config.data import Augment

# columns of `draws`
FLIP, ROTATE, SHIFT_X, SHIFT_Y, SCALE, BRIGHTNESS, CONTRAST, INVERT = range(8)
DRAWN = 8  # columns that one view uses
CROP_AREA, CROP_ASPECT, CROP_X, CROP_Y = range(24, 28)  # after those of strong_view.py


def normalise(
    images: torch.Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    channels_last: bool = False,
    standardize: bool = False,
) -> torch.Tensor:
    """Normalise uint8 [n, S, S, 3] to (x / 255 - mean) / std, float32 [n, 3, S, S]; mean and std per channel.

    `channels_last` chooses the memory format of the result, not its shape; `standardize` applies `standardised`.
    """
    result = _finish(images, *_normalisation(tuple(mean), tuple(std), images.device), channels_last)
    return standardised(result) if standardize else result


def standardised(images: torch.Tensor) -> torch.Tensor:
    """Scale each image, float32 [n, 3, S, S], to mean 0 and standard deviation 1 over its pixels and channels.

    A new tensor. The deviation counts as at least one over the root of the number of values, as in TensorFlow. Sums in
    float64 make the result the same in any memory format and any batch.
    """
    count = images[0].numel()
    mean = images.sum((1, 2, 3), keepdim=True, dtype=torch.float64) / count
    square = images.square().sum((1, 2, 3), keepdim=True, dtype=torch.float64) / count
    deviation = (square - mean.square()).clamp(min=1 / count).sqrt()
    return (images - mean.float()) / deviation.float()


def place(images: torch.Tensor, draws: torch.Tensor, augmentation: Augment) -> torch.Tensor:
    """Apply the geometry to uint8 [n, S, S, 3]. Returns this shape and type; resampled on a GPU, float32 [n, 3, S, S].

    `draws` are float32 [n, 8 or more] in [0, 1), with a crop [n, 28 or more]. The result may be `images` itself. On a
    CPU it runs in one thread, mostly without the interpreter's lock.
    """
    if augmentation.resamples:
        affine = _affine(draws, augmentation)
        return _warp(images, affine) if images.device.type == "cpu" else _sample(to_planes(images), affine)
    return _flip(images, draws) if augmentation.flip else images


def colour(
    images: torch.Tensor,
    draws: torch.Tensor,
    augmentation: Augment,
    mean: Sequence[float],
    std: Sequence[float],
    channels_last: bool = False,
    standardize: bool = False,
) -> torch.Tensor:
    """Change the colours of images that `place` returned and normalise them, as `normalise` does."""
    # x -> gain x + bias in [0, 255], then the normalisation, as one factor and one offset
    gain, bias = gain_and_bias(draws, augmentation)
    factor, offset = _normalisation(tuple(mean), tuple(std), images.device)
    result = _finish(images, gain * factor, offset + bias * factor, channels_last)
    return standardised(result) if standardize else result


def to_planes(images: torch.Tensor) -> torch.Tensor:
    """Convert uint8 [n, S, S, 3] to float32 [n, 3, S, S], contiguous: a new tensor."""
    return images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)


def _finish(images: torch.Tensor, factor: torch.Tensor, offset: torch.Tensor, channels_last: bool) -> torch.Tensor:
    """Multiply uint8 [n, S, S, 3], or float32 planes in place, by factor and add offset ([1 or n, 3, 1, 1]).

    With `channels_last`, bytes stay interleaved. Factors are then repeated for a whole row of pixels, because over an
    innermost dimension of three a CPU takes ten times as long.
    """
    if images.dtype == torch.uint8 and channels_last:
        n, size = images.shape[:2]
        rows = images.reshape(n, size, 3 * size).to(torch.float32)
        factor, offset = (t.flatten(1).repeat(1, size)[:, None] for t in (factor, offset))
        return rows.mul_(factor).add_(offset).view(n, size, size, 3).permute(0, 3, 1, 2)
    planes = to_planes(images) if images.dtype == torch.uint8 else images
    planes = planes.mul_(factor).add_(offset)
    return planes.contiguous(memory_format=torch.channels_last) if channels_last else planes


def _flip(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    flipped = (draws[:, FLIP] < 0.5)[:, None, None, None]
    if images.device.type == "cpu":  # PyTorch would start its own threads from each thread of the loader
        return torch.from_numpy(np.where(flipped.numpy(), images.numpy()[:, :, ::-1], images.numpy()))
    return torch.where(flipped, images.flip(2), images)


def _affine(draws: torch.Tensor, a: Augment) -> torch.Tensor:
    """Compute float32 [n, 2, 3] that map a point (x, y, 1) of the result to the point of the image, edges at -1 and 1.

    Combines the crop, shift, rotation about the centre and scale, then the flip.
    """
    angle = signed(draws[:, ROTATE]) * math.radians(a.rotate)
    scale = a.scale[0] + draws[:, SCALE] * (a.scale[1] - a.scale[0])
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    x, y = (-2 * a.shift * signed(draws[:, column]) for column in (SHIFT_X, SHIFT_Y))
    affine = torch.stack((cos, sin, cos * x + sin * y, -sin, cos, cos * y - sin * x), 1).view(-1, 2, 3)
    if a.flip:
        affine[:, 0] *= 1 - 2 * (draws[:, FLIP, None] < 0.5).float()
    return affine if a.crop is None else _within_crop(affine, draws, a.crop, a.crop_aspect)


def _within_crop(
    affine: torch.Tensor, draws: torch.Tensor, areas: tuple[float, float], aspects: tuple[float, float]
) -> torch.Tensor:
    """Let maps [n, 2, 3] end in a random rectangle of the image: RandomResizedCrop (Szegedy et al. 2015, sec. 6)."""
    area = areas[0] + draws[:, CROP_AREA] * (areas[1] - areas[0])
    low, high = map(math.log, aspects)
    aspect = torch.exp(low + draws[:, CROP_ASPECT] * (high - low))
    sides = torch.stack((torch.sqrt(area * aspect), torch.sqrt(area / aspect)), 1).clamp(max=1.0)
    centres = (1 - sides) * signed(draws[:, [CROP_X, CROP_Y]])
    affine = affine * sides[:, :, None]
    affine[:, :, 2] += centres
    return affine


def _sample(planes: torch.Tensor, affine: torch.Tensor) -> torch.Tensor:
    """Resample bilinearly; repeat the pixels at the edges, so that no border reveals the change."""
    centres = _centres(planes.shape[-1], planes.device)
    grid = (affine[:, None, :, 0] * centres[:, None])[:, None] + (
        affine[:, None, :, 1] * centres[:, None] + affine[:, None, :, 2]
    )[:, :, None]
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _warp(images: torch.Tensor, affine: torch.Tensor) -> torch.Tensor:
    """Resample bytes on a CPU as `_sample` does, to a 32nd of a pixel, in a third of the time of grid_sample there."""
    size = images.shape[1]
    # convert from coordinates with edges at -1 and 1 to OpenCV's pixels, whose centres are integers
    offset = affine[:, :, :2].sum(2) * (0.5 - size / 2) + affine[:, :, 2] * (size / 2) + (size / 2 - 0.5)
    matrices = torch.cat((affine[:, :, :2], offset[:, :, None]), 2).double().numpy()
    warped = torch.empty_like(images)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for picture, result, matrix in zip(images.numpy(), warped.numpy(), matrices):
        cv2.warpAffine(picture, matrix, (size, size), result, flags, cv2.BORDER_REPLICATE)
    return warped


def gain_and_bias(draws: torch.Tensor, a: Augment) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute factor and offset [n, 1, 1, 1] of contrast, brightness and negative, for values in [0, 255]."""
    gain = 1 + a.contrast * signed(draws[:, CONTRAST])
    bias = 127.5 * (1 - gain) + 255 * a.brightness * signed(draws[:, BRIGHTNESS])
    if a.invert:
        negative = draws[:, INVERT] < a.invert
        gain, bias = torch.where(negative, -gain, gain), torch.where(negative, 255 - bias, bias)
    return gain[:, None, None, None], bias[:, None, None, None]


def signed(draws: torch.Tensor) -> torch.Tensor:
    return 2 * draws - 1


@lru_cache(maxsize=16)
def _centres(size: int, device: torch.device) -> torch.Tensor:
    """Return the centres of the pixels of an edge that spans [-1, 1], float [size]."""
    return (torch.arange(size, device=device) * 2 + 1) / size - 1


@lru_cache(maxsize=16)
def _normalisation(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute factor and offset [1, 3, 1, 1] for values in [0, 255]; cached: a copy to a GPU every step would wait."""
    offset, scale = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (mean, std))
    return (1 / (255 * scale)).float().to(device), (-offset / scale).float().to(device)
