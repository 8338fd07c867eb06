"""The sections `data` and `data.augment`."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from job.config.section import BatchSize, Fraction, Gibibytes, Harmless, Positive, Section

Number = Annotated[float, Field(ge=-1e6, le=1e6)]
Triple = tuple[Number, Number, Number]
Zoom = Annotated[float, Field(le=100)]
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


class Augment(Section):
    """Random changes of the training images, drawn per image, on the device, from the same ranges in both domains."""

    flip: bool = True
    """Mirror half of the images left to right."""
    rotate: float = Field(15.0, ge=0, le=180)
    """Degrees, either way."""
    shift: Fraction = 0.10
    """Share of the width and of the height, either way."""
    scale: tuple[Zoom, Zoom] = (0.9, 1.1)
    """Zoom, from and to."""
    brightness: Fraction = 0.2
    """Added, as a share of the full range, either way."""
    contrast: Fraction = 0.2
    """Factor on the distance from mid-grey, either way."""
    invert: Fraction = 0.0
    """Probability of the photographic negative."""

    @field_validator("scale")
    @classmethod
    def _ordered(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not 0 < scale[0] <= scale[1]:
            raise ValueError("give two numbers, 0 < from <= to")
        return scale

    @property
    def resamples(self) -> bool:
        """Whether the images are interpolated, which a flip alone does not need."""
        return bool(self.rotate or self.shift or self.scale != (1.0, 1.0))


class Data(Section):
    """Which shards are read, and how. The manifest's hash stands for the shards themselves."""

    shards: Harmless[str] = "shards/faces"
    """Folder or URL with manifest.json."""
    source: str = "source"
    """The labelled domain, as the manifest names it."""
    target: str = "target"
    """The unlabelled domain, as the manifest names it."""
    global_batch_size: BatchSize = 64
    """Images per domain and step, over all ranks."""
    streams: Annotated[int, Field(gt=0, le=1_000_000)] = 16
    """Canonical streams per domain: fixes the data order, bounds the number of ranks."""
    block_shards: Positive = 4
    """Number of shards of a stream that are shuffled together."""
    threads: Harmless[Annotated[int, Field(gt=0, le=1024)]] = 2
    """Decoding threads per rank."""
    prefetch: Harmless[Annotated[int, Field(gt=0, le=10_000)]] = 4
    """Batches decoded ahead."""
    decoded_gib: Harmless[Gibibytes] = 1.0
    """Memory per rank for decoded images, which later passes reuse."""
    on_bad_image: Literal["error", "skip"] = "error"
    """An image that cannot be decoded: `error` stops the run, `skip` takes the next image and counts it."""
    max_skipped: Harmless[Annotated[int, Field(ge=1, le=1_000_000_000)] | None] = None
    """How many images a rank may skip before it stops; null: any number."""
    cache_dir: Harmless[str | None] = None
    """Cache folder of remote shards; null: ~/.cache/job/shards."""
    cache_gib: Harmless[Annotated[float, Field(gt=0, le=1e9)] | None] = None
    """Size of that cache; null: no limit."""
    record_keys: Harmless[bool] = False
    """Write the sample keys of every batch to keys/rank_N.jsonl of the run folder."""
    verify: Harmless[Literal["first_use", "never"]] = "first_use"
    """Check a shard's sha256 when a process first opens it."""
    allow_pipe: Harmless[bool] = False
    """Let shard URLs run shell commands (`pipe:...`). Never stored: pass it to each command."""
    mean: Triple = (0.5, 0.5, 0.5)
    """Subtracted from images in [0, 1]; `imagenet` fills in the values of ImageNet."""
    std: Triple = (0.5, 0.5, 0.5)
    """Divides the images after that; `imagenet` likewise."""
    augment: Augment = Augment()
    """Random changes of the training images."""

    @model_validator(mode="before")
    @classmethod
    def _imagenet(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return {k: IMAGENET[k] if k in IMAGENET and v == "imagenet" else v for k, v in values.items()}
        return values

    @field_validator("std")
    @classmethod
    def _positive(cls, std: Triple) -> Triple:
        if min(std) < 1e-6:
            raise ValueError("give numbers above 0, at least 0.000001")
        return std
