"""Source-free adaptation: Liang et al. 2020, "Do We Really Need to Access the Source Data?" (SHOT)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from job.config.objectives import SHOTSettings
from job.methods.base import Losses, Method
from job.methods.batch import TrainingBatch
from job.methods.ranks import gather_rows
from job.methods.terms import conditional_entropy, in_full_precision
from job.models.classifier import Classifier, Output


@in_full_precision
def diversity(logits: Tensor) -> Tensor:
    """Compute the entropy, in nats, of the mean prediction of [n, classes] logits: -L_div of eq. 3."""
    mean = logits.softmax(1).mean(0)
    return -(mean * mean.clamp_min(1e-12).log()).sum()


@in_full_precision
def extended(features: Tensor) -> Tensor:
    """Append 1 to [n, width] features and scale each row to length 1, for cosine distances: [n, width + 1]."""
    return F.normalize(F.pad(features, (0, 1), value=1.0), dim=1)


class SHOT(Method):
    """Information maximisation + `pseudo_label_weight` * cross-entropy with pseudo-labels, on the target alone.

    The label predictor is that of `model.weights` and stays fixed, so the target's features move to where the
    source's were. A pseudo-label is the class whose centroid is nearest to the feature by cosine distance (eq. 5).
    The paper computes centroids over the whole target once an epoch. Here they are an exponential average of the
    sums of features, weighted by prediction (eq. 4), over the rows of all ranks at every step. They are buffers, so a
    run resumes exactly, on any number of ranks, and no step waits for a pass over the target. Their scale does not
    change a cosine, so the average needs no correction for its start at 0.
    """

    reads = SHOTSettings.reads
    labelled = SHOTSettings.labelled
    couples_rows = True
    needs_trained_predictor = True
    equal_buffers = False  # matrix products of the gathered rows, which GPUs of two kinds round differently

    settings: SHOTSettings
    centroids: Tensor  # [classes, width + 1]

    def __init__(self, network: Classifier, settings: SHOTSettings) -> None:
        super().__init__(network, settings)
        network.label_predictor.requires_grad_(False)
        self.register_buffer("centroids", torch.zeros(network.classes, network.width + 1))

    def losses(self, batch: TrainingBatch, output: Output, progress: Tensor, phase: str) -> Losses:
        settings = self.settings
        logits, features = gather_rows(output.class_logits), gather_rows(output.features)
        uncertainty, spread = conditional_entropy(logits), diversity(logits)
        labels = self._pseudo_labels(features.detach(), logits.detach())
        agreement = self.class_loss(logits, labels)
        total = uncertainty - settings.diversity_weight * spread + settings.pseudo_label_weight * agreement
        terms = {"train/entropy": uncertainty, "train/diversity": spread, "train/pseudo_label_loss": agreement}
        return Losses(total, terms)

    @torch.no_grad()
    @in_full_precision
    def _pseudo_labels(self, features: Tensor, logits: Tensor) -> Tensor:
        """Move the centroids by this batch; return the class, int64 [n], of the nearest one."""
        rows = extended(features)
        sums = logits.softmax(1).T @ rows
        self.centroids.lerp_(sums, 1 - self.settings.centroid_momentum)
        return (rows @ F.normalize(self.centroids, dim=1).T).argmax(1)
