"""Prepare photos inside an exported network, as the images of shards were prepared: crop, resize, JPEG.

Everything is written as sums of products with constant shapes but for the photo's height and width, so that exporters
can trace it for photos of any size.
"""

import math

import torch
from torch import Tensor, nn

_A = -0.75  # of OpenCV's cubic interpolation
_LEAST_ACCURATE = 96  # the quality from which libjpeg-turbo transforms accurately unless told otherwise
# Quantisation of JPEG at quality 50, ITU-T T.81, tables K.1 (luminance) and K.2 (chrominance), row by row
_LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99, *([99] * 32)),
)
# RGB to YCbCr of JFIF, and back
_TO_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))


class PhotoInput(nn.Module):
    """Map RGB photos uint8 [n, H, W, 3] of any height and width to float32 [n, 3, S, S] with values in [0, 1].

    Takes the largest central square (with `crop` "none" the whole photo), resizes as OpenCV's INTER_AREA and
    INTER_CUBIC do, and adds the rounding of a JPEG (4:4:4, or `gray`) of this quality. Faces are not searched for.
    """

    to_ycc: Tensor
    to_rgb: Tensor
    cosines: Tensor
    steps: Tensor
    divisors: Tensor

    def __init__(self, size: int, crop: str, quality: int, gray: bool = False) -> None:
        super().__init__()
        self.size, self.whole, self.gray = size, crop == "none", gray
        self.padding = -size % 8
        self.register_buffer("to_ycc", torch.tensor(_TO_YCC))
        self.register_buffer("to_rgb", torch.tensor(_TO_RGB))
        self.register_buffer("cosines", _cosines())
        luminance, chrominance = (_quantisation(table, quality) for table in (_LUMINANCE, _CHROMINANCE))
        self.register_buffer("steps", torch.stack([luminance, chrominance, chrominance]))
        self.fast = quality < _LEAST_ACCURATE
        if self.fast:
            scales = torch.tensor([math.sqrt(2) * math.cos(u * math.pi / 16) if u else 1.0 for u in range(8)])
            scaled = (16384 * scales[:, None] * scales).round() * self.steps
            self.register_buffer("divisors", ((scaled + 1024) / 2048).floor())
        else:
            self.register_buffer("divisors", self.steps)

    def forward(self, photos: Tensor) -> Tensor:
        pixels = photos.to(torch.float32)
        height = torch.ones(photos.shape[1], dtype=torch.float64, device=photos.device).sum()
        width = torch.ones(photos.shape[2], dtype=torch.float64, device=photos.device).sum()
        shorter = torch.minimum(height, width)
        high, wide = (height, width) if self.whole else (shorter, shorter)
        rows = self._resizing(photos.shape[1], height, high, shorter)
        columns = self._resizing(photos.shape[2], width, wide, shorter)
        resized = torch.einsum("sh,nhwc->nswc", rows, pixels)
        resized = torch.einsum("tw,nswc->ncst", columns, resized)
        halved = (high == 2 * self.size) & (wide == 2 * self.size)  # OpenCV rounds means of 2 x 2 px upwards
        rounded = torch.where(halved, (resized + 0.5).floor(), resized.round())
        return self._compressed(rounded.clamp(0, 255)) / 255

    def _resizing(self, count: int, length: Tensor, edge: Tensor, shorter: Tensor) -> Tensor:
        """Return the matrix [S, count] that crops `length` px to the central `edge` px and resizes them to S."""
        start = ((length - edge) / 2).floor()
        scale = edge / self.size
        old = torch.arange(count, dtype=torch.float64, device=length.device)
        new = torch.arange(self.size, dtype=torch.float64, device=length.device)[:, None]
        low = start + new * scale
        area = (torch.minimum(old + 1, low + scale) - torch.maximum(old, low)).clamp(min=0) / scale
        centre = (new + 0.5) * scale - 0.5
        first = centre.floor()
        cubic = torch.zeros_like(area)
        for tap in (-1, 0, 1, 2):
            taken = torch.minimum((first + tap).clamp(min=0), edge - 1) + start  # the border is repeated
            cubic = cubic + _cubic((centre - first - tap).abs()) * (taken == old)
        return torch.where(shorter > self.size, area, cubic).to(torch.float32)

    def _compressed(self, images: Tensor) -> Tensor:
        """Return images float32 [n, 3, S, S] with values 0 to 255 after compression and decompression."""
        size = self.size + self.padding
        padded = nn.functional.pad(images, (0, self.padding, 0, self.padding), mode="replicate")
        # 128 is added to chroma, and taken away from all three before the transform
        ycc = torch.einsum("dc,nchw->ndhw", self.to_ycc, padded).round()
        centred = torch.cat([ycc[:, :1] - 128, ycc[:, 1:] * (not self.gray)], 1)
        blocks = centred.reshape(-1, 3, size // 8, 8, size // 8, 8)
        if self.fast:
            frequencies = _fast_transform(_fast_transform(blocks, 5), 3)
        else:
            frequencies = torch.einsum("ua,vb,nchawb->nchuwv", self.cosines, self.cosines, blocks)
        steps, divisors = (table[None, :, None, :, None, :] for table in (self.steps, self.divisors))
        halves = (divisors / 2).floor() if self.fast else divisors / 2
        kept = ((frequencies.abs() + halves) / divisors).floor() * frequencies.sign() * steps
        blocks = torch.einsum("ua,vb,nchuwv->nchawb", self.cosines, self.cosines, kept)
        restored = blocks.reshape(-1, 3, size, size)[:, :, : self.size, : self.size].round()
        ycc = torch.cat([(restored[:, :1] + 128).clamp(0, 255), restored[:, 1:].clamp(-128, 127)], 1)
        return torch.einsum("dc,nchw->ndhw", self.to_rgb, ycc).round().clamp(0, 255)


def _cubic(distance: Tensor) -> Tensor:
    """Return the weight of a pixel at a distance from 0 to 2: Keys 1981, with OpenCV's parameter."""
    near = ((_A + 2) * distance - (_A + 3)) * distance * distance + 1
    far = ((_A * distance - 5 * _A) * distance + 8 * _A) * distance - 4 * _A
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))


def _fast_transform(values: Tensor, axis: int) -> Tensor:
    """Return the cosine transform along an axis of 8 in the whole numbers of libjpeg's fast method, scaled as there.

    Arai, Agui & Nakajima 1988, with factors of 8 bits; the IJG's library uses it below quality 96.
    """
    x = values.unbind(axis)
    sums = [x[i] + x[7 - i] for i in range(4)]
    differences = [x[i] - x[7 - i] for i in range(4)]
    outer, inner = sums[0] + sums[3], sums[1] + sums[2]
    low = sums[0] - sums[3]
    z1 = _times(sums[1] - sums[2] + low, 181)
    first, second, third = (differences[i] + differences[i - 1] for i in (3, 2, 1))
    z5 = _times(first - third, 98)
    z2, z3, z4 = _times(first, 139) + z5, _times(second, 181), _times(third, 334) + z5
    z11, z13 = differences[0] + z3, differences[0] - z3
    out = (outer + inner, z11 + z4, low + z1, z13 - z2, outer - inner, z13 + z2, low - z1, z11 - z4)
    return torch.stack(out, axis)


def _times(values: Tensor, factor: int) -> Tensor:
    return (values * factor / 256).floor()


def _cosines() -> Tensor:
    """Return the orthonormal matrix [8, 8] of the discrete cosine transform."""
    rows = [
        [math.cos((2 * x + 1) * u * math.pi / 16) / (2 if u else 2 * math.sqrt(2)) for x in range(8)] for u in range(8)
    ]
    return torch.tensor(rows)


def _quantisation(table: tuple[int, ...], quality: int) -> Tensor:
    """Return the steps [8, 8] of a quality from 1 to 100, as the IJG's library scales them."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = [min(max((step * scale + 50) // 100, 1), 255) for step in table]
    return torch.tensor(steps, dtype=torch.float32).reshape(8, 8)
