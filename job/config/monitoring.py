"""The sections `evaluation` and `wandb`: no weight depends on them."""

from typing import Literal

from job.config.section import BatchSize, Positive, Section


class Evaluation(Section):
    """Evaluations of the validation splits and their figures."""

    batch_size: BatchSize = 256
    """Images per batch and rank."""
    probe_samples: Positive = 1000
    """Samples per domain for label-free scores, the proxy A-distance and the estimate of the class shares."""
    figures: bool = True
    """Draw figures/ and report.html after every evaluation, in a separate process."""
    feature_map: Literal["pca", "tsne"] = "pca"
    """Projection of features to two dimensions."""
    map_samples: Positive = 300
    """Samples per domain in the feature map; at most probe_samples."""
    pictures: Positive = 24
    """Sample images and confident mistakes per domain."""


class Wandb(Section):
    """Weights & Biases."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto: online with a key, offline without. WANDB_MODE, WANDB_DISABLED, `wandb offline` and `wandb disabled`
    override it, see docs/monitoring.md."""
    project: str = "emotion-dann"
    """Project of W&B."""
    entity: str | None = None
    """User or team of W&B; null: that of the key."""
    group: str | None = None
    """Group of the run; null: the objective."""
    job_type: str | None = None
    """Job type of the run; null: train."""
    tags: tuple[str, ...] = ()
    """Tags besides those of the method, the network and the Slurm job."""
    notes: str | None = None
    """Notes on the run's page."""
    artifacts: bool = True
    """Upload the chosen checkpoint and the manifest when the run has finished."""
    every_node: bool = False
    """Record system metrics of all nodes, not only of the first; online only."""
