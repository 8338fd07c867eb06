"""Entropy minimisation: Grandvalet & Bengio 2005, "Semi-supervised Learning by Entropy Minimization"."""

from torch import Tensor

from job.methods.batch import TrainingBatch
from job.methods.losses import Losses
from job.methods.term import Term
from job.methods.terms import conditional_entropy
from job.models.classifier import Output
from job.vocabulary import TARGET


class EntropyTerm(Term):
    """Conditional entropy of the target predictions, in nats."""

    def forward(self, batch: TrainingBatch, output: Output, progress: Tensor) -> Losses:
        entropy = conditional_entropy(batch.split(output.class_logits)[TARGET])
        return Losses(entropy, {"train/entropy": entropy})
