"""The sections `optimizer`, `train` and `selection`."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from job.config.section import BelowOne, Count, Harmless, New, Positive, Section, Weight

Score = Literal[
    "infomax",
    "entropy",
    "mixval",
    "bnm",
    "class_ami",
    "source_accuracy",
    "dev",
    "snd",
    "transfer_score",
    "target_accuracy",
]
MOST_PROFILED = 200  # steps: a trace has some 10,000 events a step
NEEDS_LABELS = "target_accuracy"
LABEL_FREE_SCORES = tuple(name for name in get_args(Score) if name != NEEDS_LABELS)


class Optimizer(Section):
    """The optimiser and its learning rate."""

    name: Literal["sgd", "adamw"] = "sgd"
    """Stochastic gradient descent with momentum, or AdamW."""
    lr: float = Field(0.01, gt=0, le=1000)
    """Highest learning rate."""
    schedule: Literal["paper", "cosine", "constant"] = "paper"
    """paper: lr / (1 + 10 p)^0.75 with p = step / steps. cosine: half a cosine to 0. constant: lr."""
    warmup_steps: Count = 0
    """Steps of the linear rise of the learning rate from 0."""
    momentum: BelowOne = 0.9
    """Momentum of sgd."""
    nesterov: bool = False
    """Use Nesterov's momentum in sgd."""
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    """Betas of adamw."""
    weight_decay: Weight = 0.0
    """Weight decay, except of biases and normalisation layers."""
    pretrained_lr_factor: Weight = 0.1
    """Learning rate of the backbone where model.weights is not none, relative to all other layers."""
    layer_decay: New[Annotated[float, Field(gt=0, le=1)] | None] = None
    """Learning rate of each layer of the backbone, relative to the layer above it; all other layers have the full rate.
    It replaces pretrained_lr_factor. null: one rate for the whole backbone."""
    domain_lr_factor: float = Field(1.0, gt=0, le=1e6)
    """Learning rate of the domain classifier, relative to the rest."""
    clip_norm: Annotated[float, Field(gt=0, le=1e12)] | None = None
    """Largest norm of the whole gradient; null: no limit."""
    fused: New[bool | None] = None
    """Update all weights in one kernel: less time for networks of many small tensors, other last bits. null: on GPUs,
    where each operation costs a launch, and not on CPUs."""
    sam_rho: New[Weight | None] = None
    """Sharpness-aware minimisation of the class loss (SDAT): the gradient is computed at weights that are moved by
    this length towards a higher class loss; null, or 0: at the weights themselves."""

    @field_validator("sam_rho")
    @classmethod
    def _off(cls, rho: float | None) -> float | None:
        return rho or None


class Train(Section):
    """Length of training, and intervals of logs, evaluations and checkpoints."""

    steps: Positive = 5000
    """Steps of the optimiser."""
    accumulate: Positive = 1
    """Forward passes per step, each on an equal share of the batch."""
    precision: Literal["no", "fp16", "bf16"] = "no"
    """Mixed precision; no: float32."""
    ema: New[Annotated[float, Field(gt=0, lt=1)] | None] = None
    """Decay of an exponential moving average of the weights, which is then evaluated, selected and exported; null:
    no average. After update t it is min(ema, (1 + t) / (10 + t))."""
    log_every: Harmless[Positive] = 50
    """Steps between two rows of metrics."""
    eval_every: Harmless[Positive] = 500
    """Steps between two evaluations."""
    checkpoint_every: Harmless[Positive] = 500
    """Steps between two checkpoints."""
    keep_last: Harmless[Positive] = 2
    """Number of checkpoints to keep besides the best one."""
    timeout_seconds: Harmless[Positive] = 300
    """Time after which the job fails if a rank does not answer."""
    profile_steps: New[Harmless[tuple[Positive, Positive] | None]] = None
    """First and last step of a profile of the main rank, such as [100, 120]: a trace and a summary in profile/ of the
    run folder; null: none."""
    tf32: New[bool] = True
    """On GPUs, round the factors of float32 products and convolutions to TF32 (10 bits of mantissa), several times as
    fast; false: full float32."""
    bind_cpus: New[Harmless[bool]] = True
    """Bind the ranks of a node to CPUs of their own: those near their GPU (NUMA node), or an equal share of the node's.
    Nothing is bound where a rank is alone on its node or would have fewer than two CPUs."""
    deterministic: bool = False
    """Use deterministic GPU kernels where they exist and add gradients in one order: bit-identical runs, slower."""

    @field_validator("profile_steps")
    @classmethod
    def _few_steps(cls, steps: tuple[int, int] | None) -> tuple[int, int] | None:
        if steps is not None and not steps[0] <= steps[1] < steps[0] + MOST_PROFILED:
            raise ValueError(f"give the first and the last of at most {MOST_PROFILED} steps, such as [100, 120]")
        return steps

    @field_validator("precision", mode="before")
    @classmethod
    def _no(cls, precision: Any) -> Any:
        return "no" if precision in (None, False) else precision


class Selection(Section):
    """Selection of the checkpoint."""

    score: Score | None = None
    """Score that selects the checkpoint (docs/training.md); null: the default of the method. target_accuracy needs
    target labels and is for train_on_target alone."""
