"""The interface of a method: one module with the network, whatever the method adds to it, and its loss."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from job.config.method_settings import MethodSettings
from job.methods.adversary import Adversary
from job.methods.batch import SECOND_VIEW, STRONG_VIEW, TrainingBatch
from job.methods.label_shift import EstimatedShares, LabelShift
from job.methods.losses import Losses
from job.methods.term import Term
from job.methods.terms import class_loss
from job.models.classifier import Classifier, Output
from job.vocabulary import SOURCE, TARGET

__all__ = ["Losses", "Method", "Supervised"]


class Method(nn.Module):
    """A way to train a classifier on a labelled and an unlabelled domain.

    A subclass defines `losses`, the loss of a batch; everything else has a default. Accelerate wraps this
    module, the optimiser updates it and checkpoints store it, so ranks, devices, precision and exact resume need no
    code here. State belongs in parameters and buffers, and schedules are functions of progress: a counter would restart
    on resume. Torch's global generator is seeded with (seed, step, rank) before every step: good for dropout. What all
    ranks must draw alike comes from `shared_generator` in job/methods/ranks.py.
    """

    reads: ClassVar[tuple[str, ...]] = MethodSettings.reads
    labelled: ClassVar[str | None] = MethodSettings.labelled
    couples_rows: ClassVar[bool] = False  # the loss is not a mean over rows: it gathers the rows of all ranks
    needs_trained_predictor: ClassVar[bool] = False  # starts from a checkpoint with a label predictor of these classes
    equal_buffers: ClassVar[bool] = True  # all ranks compute the same values of the buffers that the method adds
    views: int = 1  # augmented views of each target image; with 2 a batch has a block SECOND_VIEW
    strong_view: bool = False  # a batch has a block STRONG_VIEW: each target image under stronger augmentation
    phases: tuple[str, ...] = ("all",)  # updates per batch, in this order; each sees the whole batch

    class_weights: Tensor | None  # [classes], of the class loss; not saved: computed from the manifest

    def __init__(self, network: Classifier, settings: MethodSettings) -> None:
        super().__init__()
        self.seed = torch.initial_seed()  # the run's: `build_method` has seeded torch with it
        self.network = network
        self.settings = settings
        self.adversary: Adversary | None = None
        corrects = settings.label_shift == "correct"
        self.shift = LabelShift(network.classes, settings.target_shares) if corrects else None
        self.also = nn.ModuleList()  # terms of other losses: `objective.also`
        self.register_buffer("class_weights", None, persistent=False)

    def forward(self, batch: TrainingBatch, progress: Tensor, phase: str | None = None) -> Losses:
        """Compute the losses of a rank's rows in a phase, by default the first. Called through DDP.

        `progress` is a 0-dim float64 in [0, 1). The terms are added in the first phase.
        """
        first = self.phases[0]
        batch = dataclasses.replace(batch, source_weights=self.row_weights(batch.labels))
        output = self.network(batch.images)
        losses = self.losses(batch, output, progress, phase or first)
        for term in self.terms if phase in (None, first) else ():
            added = term(batch, output, progress)
            total = losses.total + term.factor(progress) * added.total
            losses = Losses(total, losses.terms | added.terms, losses.seen)
        return losses

    def add_terms(self, terms: Sequence[Term]) -> None:
        """Add terms to the loss of the first phase."""
        self.also.extend(terms)
        self.views = max([self.views, *(term.views for term in terms)])
        self.strong_view = self.strong_view or any(term.strong_view for term in terms)

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the blocks of a batch, in the order of their rows: domains, then further views of the target."""
        return (*self.reads, *[SECOND_VIEW] * (self.views - 1), *[STRONG_VIEW] * self.strong_view)

    def begin(self) -> None:
        """Prepare whatever depends on the initial weights, once they are set."""
        for term in self.terms:
            term.begin()

    @property
    def terms(self) -> list[Term]:
        """The terms of the loss: the method's own, then those of `objective.also`."""
        return [module for module in (*self.children(), *self.also) if isinstance(module, Term)]

    def losses(self, batch: TrainingBatch, output: Output, progress: Tensor, phase: str) -> Losses:
        """Compute the method's own losses from the network's output, which has a row for each image of the batch."""
        raise NotImplementedError

    def trained(self, phase: str) -> Iterable[nn.Parameter]:
        """Return the parameters that the update of this phase changes; other gradients are discarded."""
        return self.parameters()

    def finish_step(self, progress: float) -> None:
        """Call `after_step` of the method and of its terms."""
        self.after_step(progress)
        for term in self.terms:
            term.after_step(progress)

    def after_step(self, progress: float) -> None:
        """Run after an update, for instance to move an average of the weights."""

    def before_evaluation(self, target_images: Iterator[Tensor]) -> None:
        """Prepare for an evaluation. Every rank calls it.

        `target_images` yields network input [n, 3, S, S] of the target's training split: the same on every rank and at
        every evaluation. Images are read only when they are requested.
        """

    def after_evaluation(self, estimate: EstimatedShares) -> None:
        """Use the class shares of the target that an evaluation estimated. Every rank calls it."""
        if self.shift is not None:
            self.shift.move(estimate)

    def row_weights(self, labels: Tensor) -> Tensor | None:
        """Return the weights [n] that give labelled rows the target's class shares; None without a correction."""
        return None if self.shift is None else self.shift.weights[labels]

    def align(self, target_logits: Tensor) -> Tensor:
        """Shift target logits [n, classes] so that the mean prediction has the target's estimated class shares.

        For pseudo-labels: distribution alignment (Berthelot et al. 2020, "ReMixMatch", sec. 3.1).
        """
        return target_logits if self.shift is None else target_logits + self.shift.alignment

    def predict(self, images: Tensor) -> Output:
        """Classify [n, 3, S, S] images. Evaluations, the choice of the checkpoint and exports use it."""
        output: Output = self.network(images)
        if self.adversary is not None:
            output = output._replace(domain_logits=self.adversary(self.domain_input(output)))
        return output

    def domain_input(self, output: Output) -> Tensor:
        """Return the input of the domain classifier for n rows: [n, width], by default the features."""
        return output.features

    def schedules(self, progress: float) -> dict[str, float]:
        """Return the scheduled quantities to log at this progress, by metric name."""
        return {} if self.adversary is None else {"schedule/lambda": self.adversary.strength(progress)}

    @classmethod
    def measure(cls, seen: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute metrics of k batches at once, k values each, from their `Losses.seen`, stacked."""
        metrics = {}
        if "class_logits" in seen:
            right = seen["class_logits"].argmax(2) == seen["labels"]
            metrics[f"train/{cls.labelled}_accuracy"] = right.float().mean(1)
        if "domain_logits" in seen:
            metrics |= Adversary.measure(seen["domain_logits"].float())
        return metrics

    @staticmethod
    def seen(labels: Tensor, classes: dict[str, Tensor], domains: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Collect what `measure` needs from the class logits and, if given, the domain logits by block."""
        seen = {"class_logits": classes[SOURCE], "labels": labels}
        if domains is not None:
            seen["domain_logits"] = torch.cat([domains[SOURCE], domains[TARGET]])
        return seen

    def class_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the cross-entropy of [n, classes] logits with the user's label smoothing and class weights.

        With `objective.label_shift=correct` the weighted rows have the target's class shares, and so have the
        predictions, which are therefore not corrected again.
        """
        smoothing = self.settings.label_smoothing
        return class_loss(logits, labels, smoothing, self.class_weights, self.row_weights(labels))


class Supervised(Method):
    """A method whose loss is the class loss of a batch with one block, the labelled one."""

    def losses(self, batch: TrainingBatch, output: Output, progress: Tensor, phase: str) -> Losses:
        logits = output.class_logits
        loss = self.class_loss(logits, batch.labels)
        return Losses(loss, {"train/class_loss": loss}, {"class_logits": logits, "labels": batch.labels})
