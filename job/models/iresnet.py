"""The residual networks of face recognition: IResNet of ArcFace (Deng et al. 2019), with the published names.

Unlike in torchvision's ResNet, a block starts with BatchNorm, its nonlinearity is PReLU, the first convolution keeps
the resolution, and a fully connected layer on the last map, not a mean, gives the features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from job.models.weights import load_backbone, no_published_weights, read_weights

BLOCKS = {  # blocks of each stage
    "iresnet18": (2, 2, 2, 2),
    "iresnet34": (3, 4, 6, 3),
    "iresnet50": (3, 4, 14, 3),
    "iresnet100": (3, 13, 30, 3),
}
WIDTHS = (64, 128, 256, 512)
FEATURES = 512
REDUCTION = 16  # the last map has 1 / 16 of the image's edge: 7 of 112 px, the size of published weights


class Block(nn.Module):
    """BatchNorm, convolution, BatchNorm, PReLU, convolution with the stride, BatchNorm; added to the input."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride > 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, maps: Tensor) -> Tensor:
        shortcut = maps if self.downsample is None else self.downsample(maps)
        maps = self.prelu(self.bn2(self.conv1(self.bn1(maps))))
        return shortcut + self.bn3(self.conv2(maps))


class IResNet(nn.Module):
    """Images [n, 3, size, size] -> features [n, 512], for any size; published weights are for 112 px.

    `blocks` is the number of blocks of each of the four stages.
    """

    def __init__(self, blocks: tuple[int, ...], size: int) -> None:
        super().__init__()
        self.cells = -(-size // REDUCTION)  # edge of the last map
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.prelu = nn.PReLU(WIDTHS[0])
        inputs = (WIDTHS[0], *WIDTHS[:-1])
        self.layer1, self.layer2, self.layer3, self.layer4 = map(_stage, inputs, WIDTHS, blocks)
        self.bn2 = nn.BatchNorm2d(WIDTHS[-1])
        self.dropout = nn.Dropout(0.0)
        self.fc = nn.Linear(WIDTHS[-1] * self.cells**2, FEATURES)
        self.features = nn.BatchNorm1d(FEATURES)
        self.features.weight.requires_grad = False  # ArcFace trains the offset alone
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, images: Tensor) -> Tensor:
        maps = self.prelu(self.bn1(self.conv1(images)))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        features: Tensor = self.fc(self.dropout(torch.flatten(self.bn2(maps), 1)))
        return self.features(features)


def build(name: str, size: int, weights: str) -> IResNet:
    """Build `iresnet18` and its like for images of `size` px; `weights` is "none" or a file of published weights.

    Raises JobError when the weights cannot be read or do not fit.
    """
    network = IResNet(BLOCKS[name], size)
    if weights != "none":
        where = f"model.weights={weights}"
        state = read_weights(weights)
        if state is None:
            raise no_published_weights(name, weights)
        load_backbone(network, _resized(state, network.cells), where, name)
    return network


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(Block(inputs, outputs, 2), *(Block(outputs, outputs, 1) for _ in range(blocks - 1)))


def _resized(state: dict[str, Tensor], cells: int) -> dict[str, Tensor]:
    """Resample the weights of the fully connected layer to a last map of `cells` x `cells`.

    They are a filter over the whole map. Its mean weight grows as the number of cells shrinks, so that an even map
    gives about the same features.
    """
    weight = state.get("fc.weight")
    if weight is None or weight.ndim != 2 or weight.shape[1] % WIDTHS[-1]:
        return state
    trained = round((weight.shape[1] // WIDTHS[-1]) ** 0.5)
    if trained == cells or WIDTHS[-1] * trained**2 != weight.shape[1]:
        return state
    filters = weight.float().view(-1, WIDTHS[-1], trained, trained)
    filters = F.interpolate(filters, (cells, cells), mode="bilinear", antialias=True)
    return state | {"fc.weight": (filters * (trained / cells) ** 2).flatten(1)}
