"""A plain PyTorch script of domain-adversarial training, as people write it: images in memory, one loop, the last step.

It shares the network of `job/models` with our runs and nothing else: no data stream, no learner, no method of ours.
"""

import io
import math
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from job.models.compact import CompactCNN


class Images(NamedTuple):
    pixels: Tensor  # float32 [n, 3, size, size], in [-2, 2]
    labels: Tensor  # int64 [n]
    subjects: list[str]


class Reverse(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -lambda."""

    @staticmethod
    def forward(ctx, features: Tensor, lambda_: float) -> Tensor:
        ctx.lambda_ = lambda_
        return features.view_as(features)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return -ctx.lambda_ * gradient, None


def read(folder: Path, domain: str, splits: Sequence[str]) -> Images:
    """Read all images of some splits with their labels."""
    pixels, labels, subjects = [], [], []
    for path in sorted(path for split in splits for path in (folder / domain / split).glob("*.tar")):
        with tarfile.open(path) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}
        for name in sorted(name for name in files if name.endswith(".jpg")):
            stem = name.removesuffix(".jpg")
            pixels.append(np.asarray(Image.open(io.BytesIO(files[name])).convert("RGB")))
            labels.append(int(files[f"{stem}.cls"]))
            subjects.append(files[f"{stem}.json"].decode())
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    return Images((images - 0.5) / 0.25, torch.tensor(labels), subjects)


def batches(images: Images, size: int, generator: torch.Generator):
    """Yield batches for ever: a new order in every pass, half of the images mirrored."""
    while True:
        order = torch.randperm(len(images.labels), generator=generator)
        for rows in order.split(size):
            if len(rows) == size:
                mirrored = torch.rand(size, 1, 1, 1, generator=generator) < 0.5
                pixels = images.pixels[rows]
                yield torch.where(mirrored, pixels.flip(3), pixels), images.labels[rows]


def train(
    source: Images,
    target: Images | None,
    *,
    classes: int,
    steps: int,
    batch: int,
    lr: float,
    bottleneck: int,
    seed: int,
) -> nn.Module:
    """Train on the source alone, or with a `target`, whose labels are not used, by DANN. Return the classifier."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    cnn = CompactCNN()
    encoder = nn.Sequential(cnn, nn.Linear(cnn.out_features, bottleneck), nn.BatchNorm1d(bottleneck), nn.ReLU())
    labeller = nn.Linear(bottleneck, classes)
    judge = nn.Sequential(nn.Linear(bottleneck, 256), nn.ReLU(), nn.Linear(256, 1))
    model = nn.ModuleList([encoder, labeller, judge]).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    labelled = batches(source, batch, generator)
    unlabelled = batches(target, batch, generator) if target is not None else None
    for step in range(steps):
        images, labels = next(labelled)
        if unlabelled is not None:
            images = torch.cat([images, next(unlabelled)[0]])
        features = encoder(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(labeller(features[:batch]), labels)
        if unlabelled is not None:
            lambda_ = 2 / (1 + math.exp(-10 * step / steps)) - 1
            domain = judge(Reverse.apply(features, lambda_)).squeeze(1)
            truth = torch.cat([torch.zeros(batch), torch.ones(batch)])
            loss = loss + 2 * F.binary_cross_entropy_with_logits(domain, truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return nn.Sequential(encoder, labeller).eval()


@torch.no_grad()
def right(model: nn.Module, images: Images) -> np.ndarray:
    """Return which images are predicted rightly, bool [n]."""
    predicted = torch.cat([model(part).argmax(1) for part in images.pixels.split(256)])
    return (predicted == images.labels).numpy()
