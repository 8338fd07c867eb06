"""The sections `data` and `data.augment`."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from job.config.normalisation import IMAGENET
from job.config.section import BatchSize, Fraction, Gibibytes, Harmless, New, Positive, Section

Number = Annotated[float, Field(ge=-1e6, le=1e6)]
Triple = tuple[Number, Number, Number]
Zoom = Annotated[float, Field(le=100)]
Area = Annotated[float, Field(gt=0, le=1)]
Aspect = Annotated[float, Field(ge=0.1, le=10)]


def _zoom(scale: tuple[float, float]) -> tuple[float, float]:
    if not 0 < scale[0] <= scale[1]:
        raise ValueError("give two numbers, 0 < from <= to")
    return scale


class Strong(Section):
    """The strong view of methods that need one: further changes, drawn per image. Flips are those of data.augment."""

    rotate: float = Field(20.0, ge=0, le=180)
    """Largest rotation in degrees, either way."""
    shift: Fraction = 0.15
    """Largest shift, as a share of the width and of the height, either way."""
    scale: tuple[Zoom, Zoom] = (0.8, 1.2)
    """Zoom, from and to."""
    brightness: Fraction = 0.3
    """Largest offset, as a share of the full range, either way."""
    contrast: Fraction = 0.6
    """Largest change of the factor on the distance from mid-grey, either way."""
    saturation: Fraction = 0.6
    """Largest change of the factor on the distance from grey of the same brightness, either way."""
    tint: Fraction = 0.2
    """Largest change of the factor of each colour channel, either way."""
    grey: Fraction = 0.1
    """Probability of an image without colour."""
    posterize: Fraction = 0.2
    """Probability of fewer brightness levels: 1 to 4 bits are lost."""
    solarize: Fraction = 0.0
    """Probability of the negative of all values above a random one."""
    invert: Fraction | None = None
    """Probability of the photographic negative; null: that of data.augment."""
    blur: Fraction = 0.3
    """Probability of a Gaussian blur, with a sigma of up to 3 % of the edge."""
    erase: Fraction = 0.5
    """Probability of a rectangle of a random colour."""
    erase_side: Fraction = 0.4
    """Longest side of the rectangle, as a share of the edge; the shortest is a quarter of it."""

    @field_validator("scale")
    @classmethod
    def _ordered(cls, scale: tuple[float, float]) -> tuple[float, float]:
        return _zoom(scale)


class Augment(Section):
    """Random changes of the training images, drawn per image, on the device, from the same ranges in both domains."""

    flip: bool = True
    """Mirror half of the images left to right."""
    rotate: float = Field(15.0, ge=0, le=180)
    """Largest rotation in degrees, either way."""
    shift: Fraction = 0.10
    """Largest shift, as a share of the width and of the height, either way."""
    scale: tuple[Zoom, Zoom] = (0.9, 1.1)
    """Zoom, from and to."""
    brightness: Fraction = 0.2
    """Largest offset, as a share of the full range, either way."""
    contrast: Fraction = 0.2
    """Largest change of the factor on the distance from mid-grey, either way."""
    invert: Fraction = 0.0
    """Probability of the photographic negative."""
    crop: New[tuple[Area, Area] | None] = None
    """Random resized crop: share of the area that is kept, from and to, such as [0.5, 1.0]; null: all of it."""
    crop_aspect: New[tuple[Aspect, Aspect]] = (0.75, 1.3333)
    """Width over height of the crop, from and to; it is stretched to a square."""
    grayscale: New[Fraction] = 0.0
    """Probability of an image without colour."""
    blur: New[Fraction] = 0.0
    """Probability of a Gaussian blur, with a sigma of up to 3 % of the edge."""
    erase: New[Fraction] = 0.0
    """Random erasing: probability of a rectangle of a random colour."""
    erase_side: New[Fraction] = 0.4
    """Longest side of the rectangle, as a share of the edge; the shortest is a quarter of it."""
    strong: New[Strong] = Strong()
    """The strong view."""

    @field_validator("scale")
    @classmethod
    def _ordered(cls, scale: tuple[float, float]) -> tuple[float, float]:
        return _zoom(scale)

    @field_validator("crop", "crop_aspect")
    @classmethod
    def _from_and_to(cls, limits: tuple[float, float] | None) -> tuple[float, float] | None:
        if limits is not None and limits[0] > limits[1]:
            raise ValueError("give two numbers, from <= to")
        return limits

    @property
    def strongest(self) -> "Augment":
        """The ranges of the strong view, for those changes that the ordinary views have too."""
        shared = self.strong.model_dump(include={"rotate", "shift", "scale", "brightness", "contrast"})
        invert = self.invert if self.strong.invert is None else self.strong.invert
        return self.model_copy(update={**shared, "invert": invert})

    @property
    def retouches(self) -> bool:
        """Whether ordinary views lose colour, are blurred or erased."""
        return bool(self.grayscale or self.blur or self.erase)

    @property
    def retouching(self) -> "Augment":
        """A copy whose strong view makes only the changes of the ordinary views."""
        none = dict.fromkeys(("brightness", "contrast", "saturation", "tint", "posterize", "solarize", "invert"), 0.0)
        own = {"grey": self.grayscale, "blur": self.blur, "erase": self.erase, "erase_side": self.erase_side}
        return self.model_copy(update={"strong": Strong(**none, **own)})

    @property
    def resamples(self) -> bool:
        """Whether the images are interpolated, which a flip alone does not need."""
        return bool(self.rotate or self.shift or self.scale != (1.0, 1.0) or self.crop is not None)


class Data(Section):
    """Which shards are read, and how. The manifest's hash stands for the shards themselves."""

    shards: Harmless[str] = "shards/faces"
    """Folder or URL with manifest.json."""
    source: str = "source"
    """The labelled domain, as the manifest names it."""
    target: str = "target"
    """The unlabelled domain, as the manifest names it."""
    fold: New[Annotated[int, Field(ge=0, lt=1000)] | None] = None
    """The fold that is left out of training and used for testing, for shards in folds (docs/small_data.md)."""
    global_batch_size: BatchSize = 64
    """Images per domain and step, over all ranks."""
    streams: Annotated[int, Field(gt=0, le=1_000_000)] | None = None
    """Canonical streams per domain: fixes the data order, and the ranks must divide it. null: the largest number that
    divides data.global_batch_size and leaves each stream a shard, chosen at the start of a run and kept by it."""
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
    """Number of images that a rank may skip before it stops; null: any number."""
    cache_dir: Harmless[str | None] = None
    """Cache folder of remote and staged shards; null: ~/.cache/job/shards."""
    stage: New[Harmless[bool]] = False
    """Read shards of a shared file system through the cache too: data.cache_dir must be on a disk of the node."""
    cache_gib: Harmless[Annotated[float, Field(gt=0, le=1e9)] | None] = None
    """Size of that cache; null: no limit."""
    record_keys: Harmless[bool] = False
    """Write the sample keys of every batch to keys/rank_N.jsonl of the run folder."""
    verify: Harmless[Literal["first_use", "never"]] = "first_use"
    """Check a shard's sha256 when a process first opens it."""
    allow_pipe: Harmless[bool] = False
    """Let shard URLs run shell commands (`pipe:...`). Never stored: pass it to each command."""
    mean: Triple = (0.5, 0.5, 0.5)
    """Mean that is subtracted from images in [0, 1]; `imagenet`: the values of ImageNet; `backbone`: those with which
    the published weights of the backbone were trained, the default with timm/NAME."""
    std: Triple = (0.5, 0.5, 0.5)
    """Standard deviation that divides the images after that; `imagenet` and `backbone` likewise."""
    standardize: New[bool] = False
    """After that, subtract each image's own mean over all pixels and channels and divide by its standard deviation."""
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
