"""A compact convolutional network for 48 to 96 pixel faces, cheap enough to train on a laptop's processor."""

from functools import lru_cache

import torch
from torch import Tensor, nn

NORMS = ("batch", "none")


class CompactCNN(nn.Module):
    """Images [n, in_channels, H, W] -> features [n, out_features], for H and W of 48 to 96 pixels or more.

    Four convolutions, each twice as wide as the one before. The first two use strides instead of pooling, which saves
    most of the work and memory traffic. The last map is pooled to `grid` x `grid` cells and not to one, because the
    place of a feature (a raised brow, a lowered lip corner) distinguishes expressions. `norm` is "batch", or "none" for
    runs whose loss must not depend on how the batch is split over ranks; there, He initialisation alone keeps the
    scale.
    """

    def __init__(self, in_channels: int = 3, width: int = 16, norm: str = "batch", grid: int = 3):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm is {norm!r}; one of {', '.join(NORMS)}")
        widths = (width, 2 * width, 4 * width, 8 * width)
        self.stages = nn.Sequential(
            _stage(in_channels, widths[0], norm, kernel=5, stride=2),
            _stage(widths[0], widths[1], norm, stride=2),
            _stage(widths[1], widths[2], norm),
            nn.MaxPool2d(2),
            _stage(widths[2], widths[3], norm),
        )
        self.pool = _AdaptiveAvgPool2d(grid)
        self.out_features = widths[3] * grid * grid
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        return torch.flatten(self.pool(self.stages(images)), 1)


class _AdaptiveAvgPool2d(nn.AdaptiveAvgPool2d):
    """Adaptive pooling as matrix products if kernels must be deterministic: CUDA has no such kernel of its gradient."""

    def forward(self, maps: Tensor) -> Tensor:
        if not torch.are_deterministic_algorithms_enabled():
            return super().forward(maps)
        rows, columns = (_means(length, self.output_size, maps.dtype, maps.device) for length in maps.shape[2:])
        return rows @ maps @ columns.T


@lru_cache(maxsize=8)  # a copy to the device at every step would wait for the device
@torch.inference_mode(False)
def _means(length: int, cells: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return [cells, length]: row i averages from floor(i length / cells) to ceil((i + 1) length / cells)."""
    means = torch.zeros(cells, length)
    for i in range(cells):
        start, end = i * length // cells, -(-(i + 1) * length // cells)
        means[i, start:end] = 1 / (end - start)
    return means.to(device, dtype)


def _stage(inputs: int, outputs: int, norm: str, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=norm == "none")
    normalise = nn.BatchNorm2d(outputs) if norm == "batch" else nn.Identity()
    return nn.Sequential(convolution, normalise, nn.ReLU(inplace=True))
