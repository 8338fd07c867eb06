"""Strong views: images under heavy changes of place and colour, blurred and partly erased.

The changes are those of RandAugment (Cubuk et al. 2020) that keep the class of a face or a digit, with SimCLR's blur
(Chen et al. 2020) and Cutout (DeVries & Taylor 2017). Each is drawn on its own, from the ranges of
`data.augment.strong`, and a row depends on its pixels and its draws alone. The input and the result are bytes. Ordinary
views share the code for losing colour, blur and erasing, which they do after their geometry (`retouch`).
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from job.config.data import Augment
from job.shards.reading.augment import DRAWN, INVERT, gain_and_bias, place, signed, to_planes

# columns of the draws, after those of `augment.py`
SATURATION, RED, GREEN, BLUE, GREY, POSTERIZE, SOLARIZE, BLUR = range(DRAWN, DRAWN + 8)
ERASE, ERASE_X, ERASE_Y, ERASE_WIDTH, ERASE_HEIGHT, FILL_RED, FILL_GREEN, FILL_BLUE = range(DRAWN + 8, DRAWN + 16)
STRONG_DRAWN = DRAWN + 16  # columns that a strong view uses
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: brightness of red, green and blue
SIGMA = 0.03  # widest blur, as a share of the edge: 1.4 px of 48


class _Changes(NamedTuple):
    """What happens to n images after the geometry, in this order."""

    matrix: torch.Tensor  # float [n, 3, 4]: the new channels of a colour (r, g, b, 1)
    levels: torch.Tensor  # float [n]: values become multiples of it
    solar: torch.Tensor  # float [n]: values from here on become negatives
    sigma: torch.Tensor  # float [n] in pixels, of the blur
    box: torch.Tensor  # int64 [n, 4]: left, top, right and bottom of the erased rectangle; right and bottom excluded
    fill: torch.Tensor  # float [n, 3], its colour


def strong_view(images: torch.Tensor, draws: torch.Tensor, augmentation: Augment) -> torch.Tensor:
    """Change uint8 [n, S, S, 3] by `augmentation.strong`; returns a new tensor of this shape and type.

    `draws` are float32 [n, STRONG_DRAWN or more] in [0, 1). On a CPU it runs in one thread, mostly without the
    interpreter's lock; on a GPU nothing waits for the device.
    """
    return _changed(place(images, draws, augmentation.strongest), draws, augmentation)


def retouch(images: torch.Tensor, draws: torch.Tensor, augmentation: Augment) -> torch.Tensor:
    """Take the colour from some ordinary views, blur and erase some: data.augment.grayscale, blur and erase.

    `images` are what `place` returned, of any type; `draws` those of `strong_view`. Returns uint8 [n, S, S, 3], new.
    """
    return _changed(images, draws, augmentation.retouching)


def _changed(images: torch.Tensor, draws: torch.Tensor, augmentation: Augment) -> torch.Tensor:
    size = images.shape[2]  # S, in both forms
    changes = _changes(draws, augmentation, size)
    radius = math.ceil(3 * SIGMA * size)
    return _on_host(images, changes, radius) if images.device.type == "cpu" else _on_device(images, changes, radius)


def neutral(draws: torch.Tensor) -> torch.Tensor:
    """Return draws with which `augment.colour` changes nothing: the middle of the ranges and no negative."""
    draws = torch.full_like(draws, 0.5)
    draws[:, INVERT] = 1.0
    return draws


def _changes(draws: torch.Tensor, augmentation: Augment, size: int) -> _Changes:
    strong = augmentation.strong
    gain, bias = (part.flatten(1) for part in gain_and_bias(draws, augmentation.strongest))
    saturation = 1 + strong.saturation * signed(draws[:, SATURATION])
    saturation = saturation * (draws[:, GREY] >= strong.grey)
    mixed = _mixing(saturation) * (1 + strong.tint * signed(draws[:, RED : BLUE + 1]))[:, :, None]
    matrix = torch.cat([gain[:, :, None] * mixed, bias[:, None].expand(-1, 3, 1)], 2)
    bits = 1 + (4 * _given(draws[:, POSTERIZE], strong.posterize)).floor()  # bits that are lost: 1 to 4
    levels = torch.where(draws[:, POSTERIZE] < strong.posterize, 2**bits, torch.ones_like(bits))
    solar = 256 * torch.where(draws[:, SOLARIZE] < strong.solarize, _given(draws[:, SOLARIZE], strong.solarize), 1.0)
    sigma = SIGMA * size * torch.where(draws[:, BLUR] < strong.blur, _given(draws[:, BLUR], strong.blur), 0.0)
    sides = strong.erase_side * size * (0.25 + 0.75 * draws[:, [ERASE_WIDTH, ERASE_HEIGHT]])
    sides = sides * (draws[:, ERASE, None] < strong.erase)
    centre = size * draws[:, [ERASE_X, ERASE_Y]]
    box = torch.cat([centre - sides / 2, centre + sides / 2], 1).round().clamp(0, size).long()
    fill = (255 * draws[:, FILL_RED : FILL_BLUE + 1]).round()
    return _Changes(matrix, levels, solar, sigma, box, fill)


def _given(draws: torch.Tensor, probability: float) -> torch.Tensor:
    """Stretch the draws below `probability` to [0, 1): how strong a change is, where it happens."""
    return draws / max(probability, 1e-9)


def _mixing(saturation: torch.Tensor) -> torch.Tensor:
    """Compute [n, 3, 3] that mix each channel with the brightness: grey at a saturation of 0, the colour at 1."""
    luma = torch.tensor(LUMA, device=saturation.device).expand(3, 3)
    return luma + saturation[:, None, None] * (torch.eye(3, device=saturation.device) - luma)


def _on_host(images: torch.Tensor, changes: _Changes, radius: int) -> torch.Tensor:
    result = torch.empty_like(images)
    values = torch.arange(256.0).expand(len(images), 256)
    tables = _levels(values, changes.levels[:, None], changes.solar[:, None]).to(torch.uint8).numpy()
    mapped = ((changes.levels > 1) | (changes.solar < 256)).tolist()
    each = zip(
        images.numpy(),
        result.numpy(),
        changes.matrix.double().numpy(),
        [table if is_mapped else None for table, is_mapped in zip(tables, mapped)],
        changes.sigma.tolist(),
        changes.box.tolist(),
        changes.fill.numpy().astype(np.uint8),
    )
    width = (2 * radius + 1, 2 * radius + 1)
    for image, changed, matrix, table, sigma, (left, top, right, bottom), fill in each:
        cv2.transform(image, matrix, changed)
        if table is not None:
            cv2.LUT(changed, table, changed)
        if sigma:
            cv2.GaussianBlur(changed, width, sigma, changed, sigma, cv2.BORDER_REPLICATE)
        changed[top:bottom, left:right] = fill
    return result


def _on_device(images: torch.Tensor, changes: _Changes, radius: int) -> torch.Tensor:
    values = images if images.dtype == torch.float32 else to_planes(images)
    n, _, size, _ = values.shape
    colours = torch.baddbmm(changes.matrix[:, :, 3:], changes.matrix[:, :, :3], values.round().flatten(2))
    levels, solar = changes.levels[:, None, None], changes.solar[:, None, None]
    values = _levels(colours.round().clamp(0, 255), levels, solar).view(n, 3, size, size)
    values = _blur(values, changes.sigma, radius)
    at = torch.arange(size, device=values.device)
    left, top, right, bottom = changes.box[:, :, None].unbind(1)
    erased = ((at >= top) & (at < bottom))[:, None, :, None] & ((at >= left) & (at < right))[:, None, None, :]
    values = torch.where(erased, changes.fill[:, :, None, None], values)
    return values.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _levels(values: torch.Tensor, levels: torch.Tensor, solar: torch.Tensor) -> torch.Tensor:
    """Round whole values in [0, 255] down to multiples of `levels`, then invert those that are at least `solar`."""
    rounded = (values / levels).floor() * levels
    return torch.where(rounded >= solar, 255 - rounded, rounded)


def _blur(values: torch.Tensor, sigma: torch.Tensor, radius: int) -> torch.Tensor:
    """Convolve [n, 3, S, S] with Gaussians of `sigma` [n]; the pixels at the edges are repeated."""
    n, channels, size, _ = values.shape
    at = torch.arange(-radius, radius + 1, device=values.device)
    kernels = torch.exp(-(at**2) / (2 * sigma[:, None].clamp(min=1e-3) ** 2))
    kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None]
    padded = F.pad(values, (radius,) * 4, "replicate").view(1, n * channels, size + 2 * radius, -1)
    rows = F.conv2d(padded, kernels[:, :, None, :], groups=n * channels)
    return F.conv2d(rows, kernels[:, :, :, None], groups=n * channels).view_as(values)
