"""The section `model`."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from job.config.section import BelowOne, Count, New, Section, Width, Widths


class Model(Section):
    """The network: backbone, heads and initial weights."""

    backbone: str = "compact"
    """compact, mnist, svhn, iresnet18 to iresnet100, any torchvision classifier (resnet18, vit_b_16, ...), or any of
    timm (timm/resnet50, timm/convnext_tiny.fb_in22k, ...)."""
    weights: str = "none"
    """none, a checkpoint of this project (runs/NAME/checkpoints/best, or runs/NAME for its best one), a shared model of
    this project (a folder that `export` wrote, or hf://USER/NAME on the Hugging Face hub), a local file
    (.pth, .safetensors) of the backbone's weights, a name of torchvision (DEFAULT, IMAGENET1K_V1, ...) or of timm
    (DEFAULT, a1_in1k, ...), or hf-hub:USER/NAME with a backbone of timm."""
    freeze: New[Count | Annotated[tuple[str, ...], Field(max_length=1000)]] = 0
    """Number of stages of the backbone, from the input, that are not trained and whose BatchNorm keeps its statistics;
    or the names of its parts, such as [conv1, bn1, layer1]."""
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
    """Compile the network with torch.compile: what compile_scope names."""
    compile_scope: New[Literal["features", "method"]] = "features"
    """features: the feature extractor. method: the whole forward pass of training, with heads and losses, as one graph;
    it takes longer to compile, and pays for small networks, whose operations mostly cost their launch."""
    compile_mode: New[Literal["default", "reduce-overhead", "max-autotune"]] = "default"
    """Mode of torch.compile. reduce-overhead: CUDA graphs, for small networks on a GPU. max-autotune: CUDA graphs and a
    search for the fastest kernels, which takes minutes."""

    @field_validator("weights", mode="before")
    @classmethod
    def _none(cls, weights: Any) -> Any:
        return "none" if weights in (None, False, "no") else weights

    @model_validator(mode="after")
    def _frozen_weights_are_loaded(self) -> "Model":
        if self.freeze and self.weights == "none":
            raise ValueError("model.freeze needs model.weights: the frozen stages would keep random weights")
        return self
