"""The configuration: every key, its default, its limits, and what it does. `job/config/load.py` reads it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(gt=0)]
Triple = tuple[float, float, float]
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Augment(Section):
    """Random changes of the training images, drawn per image, on the device, alike in both domains."""

    flip: bool = True  # mirror half of the images left to right
    rotate: float = Field(15.0, ge=0, le=180)  # degrees, either way
    shift: Fraction = 0.10  # share of the width and of the height, either way
    scale: tuple[float, float] = (0.9, 1.1)  # zoom, from and to
    brightness: Fraction = 0.2  # added, as a share of the full range, either way
    contrast: Fraction = 0.2  # factor on the distance from mid-grey, either way
    invert: Fraction = 0.0  # probability of the photographic negative

    @field_validator("scale")
    @classmethod
    def _ordered(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not 0 < scale[0] <= scale[1]:
            raise ValueError("wants two numbers, 0 < from <= to")
        return scale


class Data(Section):
    shards: str = "shards/faces"  # folder or URL that holds manifest.json
    source: str = "source"  # the labelled domain, as the manifest names it
    target: str = "target"  # the unlabelled domain
    global_batch_size: Positive = 64  # images per domain and step, over all ranks
    streams: Positive = 16  # canonical streams per domain: fixes the data order, bounds the number of ranks
    block_shards: Positive = 4  # shards of a stream that are shuffled together
    threads: Positive = 2  # decoding threads per rank
    prefetch: Positive = 4  # batches decoded ahead
    decoded_gib: float = Field(1.0, ge=0)  # memory per rank for decoded images, so that later passes need not decode
    on_bad_image: Literal["error", "skip"] = "error"  # an undecodable image: stop, or take the next one and count it
    max_skipped: int | None = Field(None, ge=1)  # how many images a rank may skip before it stops; null: any number
    cache_dir: str | None = None  # where remote shards are kept; default: ~/.cache/job/shards
    cache_gib: float | None = Field(None, gt=0)  # size of that cache; default: unbounded
    record_keys: bool = False  # write the sample keys of every batch to keys/rank_N.jsonl of the run folder
    allow_pipe: bool = False  # let shard URLs run shell commands (pipe:...)
    mean: Triple = (0.5, 0.5, 0.5)  # subtracted from images in [0, 1]; "imagenet" fills in mean and std
    std: Triple = (0.5, 0.5, 0.5)
    augment: Augment = Augment()

    @model_validator(mode="before")
    @classmethod
    def _imagenet(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return {k: IMAGENET[k] if k in IMAGENET and v == "imagenet" else v for k, v in values.items()}
        return values

    @field_validator("std")
    @classmethod
    def _positive(cls, std: Triple) -> Triple:
        if min(std) <= 0:
            raise ValueError("wants numbers above 0")
        return std


class Model(Section):
    backbone: str = "compact"  # compact, mnist, svhn, or any torchvision classifier (resnet18, vit_b_16, ...)
    weights: str = "none"  # none, a local file, or torchvision's name for them (DEFAULT, IMAGENET1K_V1, ...)
    bottleneck: int | None = Field(
        None, gt=0
    )  # width of a layer (with BatchNorm) between backbone and heads; null: none
    label_hidden: tuple[Positive, ...] | None = None  # hidden widths of the label predictor; null: the backbone's own
    domain_hidden: tuple[Positive, ...] | None = None  # hidden widths of the domain classifier; likewise
    dropout: float = Field(0.0, ge=0, lt=1)  # before the label predictor
    batch_norm: Literal["mixed", "sync", "frozen", "none"] = "mixed"  # statistics over the rank's concatenated batch,
    # over all ranks' batches, fixed to the loaded ones, or (compact, mnist) no BatchNorm at all
    init: Literal["torch", "xavier", "kaiming"] = "torch"  # of layers without loaded weights
    compile: bool = False  # torch.compile the feature extractor

    @field_validator("weights", mode="before")
    @classmethod
    def _none(cls, weights: Any) -> Any:
        return "none" if weights in (None, False) else weights


class Objective(Section):
    name: Literal["dann", "source_only", "train_on_target"] = "dann"
    lambda_max: float = Field(1.0, ge=0)  # the reversed gradient's final strength
    gamma: float = Field(10.0, gt=0)  # how fast lambda rises
    lambda_schedule: Literal["paper", "constant"] = "paper"
    domain_weight: float = Field(1.0, ge=0)  # constant factor of the domain loss, for classifier and encoder alike
    entropy_weight: float = Field(0.0, ge=0)  # conditional entropy of the target predictions; rises as lambda does
    pseudo_label_weight: float = Field(0.0, ge=0)  # confident target predictions as labels of a second view; likewise
    pseudo_label_threshold: Fraction = 0.9  # the least confidence of such a prediction
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = "none"  # balanced: inverse source frequency


class Optimizer(Section):
    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(0.01, gt=0)
    schedule: Literal["paper", "cosine", "constant"] = "paper"
    warmup_steps: int = Field(0, ge=0)  # linear rise of the learning rate from 0
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    weight_decay: float = Field(0.0, ge=0)  # not on biases and normalisation layers
    pretrained_lr_factor: float = Field(0.1, ge=0)  # learning rate of loaded layers, relative to the new ones
    domain_lr_factor: float = Field(1.0, gt=0)  # learning rate of the domain classifier, relative to the rest
    clip_norm: float | None = Field(None, gt=0)  # largest norm of the whole gradient


class Train(Section):
    steps: Positive = 5000
    accumulate: Positive = 1  # forward passes per step, each on a share of the batch
    precision: Literal["no", "fp16", "bf16"] = "no"
    log_every: Positive = 50
    eval_every: Positive = 500
    checkpoint_every: Positive = 500
    keep_last: Positive = 2  # checkpoints kept beside the best one
    timeout_seconds: Positive = 300  # a rank that is silent for so long ends the job
    deterministic: bool = False  # deterministic GPU kernels, where there are some: bit-identical runs, slower

    @field_validator("precision", mode="before")
    @classmethod
    def _no(cls, precision: Any) -> Any:
        return "no" if precision in (None, False) else precision  # YAML reads a bare `no` as false


class Evaluation(Section):
    batch_size: Positive = 256  # per rank
    probe_samples: Positive = 1000  # per domain, for the proxy A-distance
    figures: bool = True  # figures/ and report.html, drawn by a process of their own after every evaluation
    feature_map: Literal["pca", "tsne"] = "pca"  # how features are laid out in two dimensions
    map_samples: Positive = 300  # per domain, in the feature map; at most probe_samples
    pictures: Positive = 24  # per domain, sample faces and confident mistakes


def decisive_data(data: dict[str, Any]) -> dict[str, Any]:
    """Of the section `data` what decides the weights; the manifest's hash stands for the shards themselves."""
    harmless = {"shards", "threads", "prefetch", "decoded_gib", "record_keys", "max_skipped"}
    harmless |= {"cache_dir", "cache_gib", "allow_pipe"}
    return {key: value for key, value in data.items() if key not in harmless}


def default_score(objective: str) -> str:
    """The model-selection score of an objective."""
    return {"train_on_target": "target_accuracy", "source_only": "source_accuracy"}.get(objective, "infomax")


def score_of(config: Mapping[str, Any]) -> str:
    """The model-selection score in force, of a configuration as a run folder holds it."""
    return (config.get("selection") or {}).get("score") or default_score(config["objective"]["name"])


class Selection(Section):
    score: Literal["infomax", "source_accuracy", "target_accuracy"] | None = None  # null: the objective's own;
    # target_accuracy needs target labels and is for train_on_target alone


class Wandb(Section):
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"  # auto: online with a key, offline without
    project: str = "emotion-dann"
    entity: str | None = None
    group: str | None = None  # null: the objective
    job_type: str | None = None  # null: train
    tags: tuple[str, ...] = ()  # more than those of the method, the network and the Slurm job
    notes: str | None = None
    artifacts: bool = True  # hand over the chosen checkpoint and the manifest when the run has finished
    every_node: bool = False  # system metrics of all nodes, not of the first alone; online only


class Config(Section):
    name: str = Field("run", min_length=1)  # the run folder is OUTPUT/NAME
    seed: int = Field(0, ge=0, lt=2**31)
    output: str = "runs"
    data: Data = Data()
    model: Model = Model()
    objective: Objective = Objective()
    optimizer: Optimizer = Optimizer()
    train: Train = Train()
    evaluation: Evaluation = Evaluation()
    selection: Selection = Selection()
    wandb: Wandb = Wandb()

    @field_validator("name")
    @classmethod
    def _plain_folder_name(cls, name: str) -> str:
        if "/" in name or name in (".", ".."):
            raise ValueError("is a folder name: no slash in it (the folder above it is `output`)")
        return name

    @model_validator(mode="after")
    def _score_fits_objective(self) -> "Config":
        supervised = self.objective.name == "train_on_target"
        if self.selection.score is not None and (self.selection.score == "target_accuracy") != supervised:
            raise ValueError(
                f"selection.score={self.selection.score} does not go with objective.name={self.objective.name}: "
                "target labels may choose a checkpoint of train_on_target only, and only they do"
            )
        return self

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "Config":
        if self.optimizer.nesterov and not self.optimizer.momentum:
            raise ValueError("optimizer.nesterov=true needs optimizer.momentum above 0")
        return self

    @property
    def score(self) -> str:
        """The model-selection score in force."""
        return self.selection.score or default_score(self.objective.name)

    @property
    def run_folder(self) -> Path:
        return Path(self.output) / self.name

    def fingerprint(self) -> str:
        """Hash of what decides the weights at a given step: a run goes on only under the same one."""
        return hashlib.sha256(json.dumps(self.decisive(), sort_keys=True).encode()).hexdigest()[:16]

    def decisive(self) -> dict[str, Any]:
        """The keys that decide the weights at a given step."""
        content = self.model_dump(mode="json", include={"seed", "data", "model", "objective", "optimizer", "train"})
        content["data"] = decisive_data(content["data"])
        for key in ("log_every", "eval_every", "checkpoint_every", "keep_last", "timeout_seconds"):
            del content["train"][key]
        return content

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
