"""The section `model`."""

from typing import Any, Literal

from pydantic import field_validator

from job.config.section import BelowOne, Section, Width, Widths


class Model(Section):
    """The network: backbone, heads and initial weights."""

    backbone: str = "compact"
    """compact, mnist, svhn, or any torchvision classifier (resnet18, vit_b_16, ...)."""
    weights: str = "none"
    """none, a checkpoint of this project (runs/NAME/checkpoints/best, or runs/NAME for its best one), a local file of a
    torchvision state dict, or a name of torchvision (DEFAULT, IMAGENET1K_V1, ...)."""
    bottleneck: Width | None = None
    """Width of a layer (with BatchNorm) between backbone and heads; null: no such layer."""
    label_hidden: Widths | None = None
    """Hidden widths of the label predictor; null: the backbone's own."""
    domain_hidden: Widths | None = None
    """Hidden widths of the domain classifier; null: the backbone's own."""
    dropout: BelowOne = 0.0
    """Dropout before the label predictor."""
    batch_norm: Literal["mixed", "sync", "frozen", "none"] = "mixed"
    """Statistics over the rank's concatenated batch (mixed), over all ranks' batches (sync), fixed to the loaded ones
    (frozen), or, for compact and mnist, no BatchNorm at all (none)."""
    init: Literal["torch", "xavier", "kaiming"] = "torch"
    """Initialisation of layers without loaded weights."""
    compile: bool = False
    """torch.compile the feature extractor."""

    @field_validator("weights", mode="before")
    @classmethod
    def _none(cls, weights: Any) -> Any:
        return "none" if weights in (None, False, "no") else weights
