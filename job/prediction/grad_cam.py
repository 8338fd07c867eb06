"""Grad-CAM: the parts of an image that a prediction depends on. Selvaraju et al. 2017, ICCV, sec. 3.

Use `heat_maps` and `overlay` from Python; nothing here depends on the command line.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from job.evaluation.load import Loaded
from job.system.errors import JobError

_SMALLEST_MAP = 4  # cells an edge: the last stage with at least so many is explained
_OPACITY = 0.45  # of the colours
_LEAST_EDGE = 192  # px of an overlay


def heat_maps(loaded: Loaded, images: np.ndarray, classes: np.ndarray | None = None) -> np.ndarray:
    """Return float32 [n, S, S] in [0, 1]: how much each place of images uint8 [n, S, S, 3] supports a class.

    `classes` int [n] are the classes to explain, by default the predicted ones. The maps are those of the last
    convolutional stage whose output has at least 4 x 4 cells, enlarged; it is 0 where nothing supports the class.
    Raises JobError for a network without such a stage.
    """
    device = next(loaded.model.parameters()).device
    inputs = loaded.network_input(images, device)
    with torch.enable_grad(), _stage_outputs(loaded.model.network.feature_extractor) as outputs:
        logits = loaded.model.predict(inputs.requires_grad_(True)).class_logits.float()
        activations = _last_stage(outputs, loaded)
        chosen = logits.argmax(1) if classes is None else torch.from_numpy(np.asarray(classes)).to(device)
        (gradients,) = torch.autograd.grad(logits.gather(1, chosen[:, None]).sum(), activations)
    weights = gradients.mean((2, 3), keepdim=True)  # eq. 1
    maps = (weights * activations.detach()).sum(1, keepdim=True).relu()  # eq. 2
    maps = nn.functional.interpolate(maps.float(), images.shape[1:3], mode="bilinear", align_corners=False)[:, 0]
    highest = maps.amax((1, 2), keepdim=True)
    return np.asarray((maps / highest.clamp_min(torch.finfo(maps.dtype).tiny)).cpu().numpy(), np.float32)


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return an image uint8 [S, S, 3] under its heat map [S, S], enlarged to 192 px or more: uint8 RGB [E, E, 3]."""
    edge = max(_LEAST_EDGE, image.shape[0])
    large = cv2.resize(image, (edge, edge), interpolation=cv2.INTER_CUBIC)
    level = cv2.resize(heat, (edge, edge), interpolation=cv2.INTER_LINEAR)[:, :, None].clip(0, 1)
    colours = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_TURBO)[:, :, ::-1]
    share = _OPACITY * level  # where nothing supports the class, the image is unchanged
    return np.asarray((large * (1 - share) + colours * share).round(), np.uint8)


@contextmanager
def _stage_outputs(extractor: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the outputs of all parts with a convolution, in the order in which they end."""
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            outputs.append(output)

    stages = [part for part in extractor.modules() if any(isinstance(m, nn.Conv2d) for m in part.modules())]
    handles = [part.register_forward_hook(keep) for part in stages]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _last_stage(outputs: list[Tensor], loaded: Loaded) -> Tensor:
    """Return the last output that is a map. Raises JobError when there is none, or attention mixes the cells.

    A transformer has maps, those of its patches, but its classes come from tokens.
    """
    maps = [output for output in outputs if output.ndim == 4 and min(output.shape[2:]) >= _SMALLEST_MAP]
    attends = any("Attention" in type(part).__name__ for part in loaded.model.network.modules())
    if attends or not maps or not maps[-1].requires_grad:
        raise JobError(
            f"the predictions of {loaded.config.model.backbone} cannot be explained: Grad-CAM needs a convolutional "
            f"network with a map of {_SMALLEST_MAP} x {_SMALLEST_MAP} cells or more, so leave --explain out"
        )
    return maps[-1]
