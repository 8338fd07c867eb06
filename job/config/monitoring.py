"""The sections `evaluation` and `wandb`: no weight depends on them."""

from typing import Literal

from job.config.section import BatchSize, Positive, Section


class Evaluation(Section):
    """What is measured and drawn of the validation splits."""

    batch_size: BatchSize = 256
    """Images per batch and rank."""
    probe_samples: Positive = 1000
    """Samples per domain for the proxy A-distance."""
    figures: bool = True
    """Draw figures/ and report.html after every evaluation, in a process of their own."""
    feature_map: Literal["pca", "tsne"] = "pca"
    """How features are laid out in two dimensions."""
    map_samples: Positive = 300
    """Samples per domain in the feature map; at most probe_samples."""
    pictures: Positive = 24
    """Sample faces and confident mistakes per domain."""


class Wandb(Section):
    """Weights & Biases."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto: online with a key, offline without. WANDB_MODE, WANDB_DISABLED, `wandb offline` and `wandb disabled` come
    before it, see docs/monitoring.md."""
    project: str = "emotion-dann"
    """W&B's project."""
    entity: str | None = None
    """W&B's user or team; null: that of the key."""
    group: str | None = None
    """null: the objective."""
    job_type: str | None = None
    """null: train."""
    tags: tuple[str, ...] = ()
    """More tags than those of the method, the network and the Slurm job."""
    notes: str | None = None
    """Text at the head of the run's page."""
    artifacts: bool = True
    """Upload the chosen checkpoint and the manifest when the run has finished."""
    every_node: bool = False
    """System metrics of all nodes, not of the first alone; online only."""
