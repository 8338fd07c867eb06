"""Exact evaluation: each sample of a split counts once, on any number of ranks."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from job.evaluation.rows import RowCollector, Rows
from job.evaluation.samples import Sample, Sampler
from job.evaluation.tally import Tally
from job.methods.base import Method
from job.shards.manifest import Manifest
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.whole_split import read_split
from job.system.progress import follow

Batch = TypeVar("Batch")


class EvaluationStopped(Exception):
    """Raised on all ranks when they agree to stop during an evaluation. Its counts are discarded."""


@dataclass(frozen=True)
class DomainReport:
    """Predictions for one split of one domain, C classes, summed over all ranks."""

    domain: str
    split: str
    samples: int
    confusion: (
        np.ndarray | None
    )  # int64 [C, C], rows are true classes, of the labelled samples; None: no sample has a label
    predicted: np.ndarray  # int64 [C], number of predictions of each class
    mean_probability: np.ndarray  # float64 [C], mean predicted distribution
    mean_entropy: float  # nats, mean entropy of the predictions
    sample: Sample | None = None  # for scores and figures
    confidence: np.ndarray | None = None  # int64 [CONFIDENCE_BINS], samples by probability of the predicted class
    rows: Rows | None = None  # the prediction for every image, if requested

    @property
    def labelled(self) -> int:
        """Number of labelled samples, on which accuracy and recall are measured."""
        return 0 if self.confusion is None else int(self.confusion.sum())

    @classmethod
    def absent(cls, domain: str, split: str, classes: int) -> "DomainReport":
        """Return the report of a domain that the shards do not hold: no samples."""
        return cls(domain, split, 0, None, np.zeros(classes, np.int64), np.zeros(classes), 0.0)


@torch.no_grad()
def evaluate_domain(
    method: Method,
    accelerator: Accelerator,
    manifest: Manifest,
    store: ShardStore,
    domain: str,
    split: str,
    normalise: Callable[[Tensor], Tensor],
    batch_size: int,
    threads: int = 2,
    probe_samples: int = 0,
    pictures: int = 0,
    progress: bool = False,
    every_row: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> DomainReport:
    """Run the network in evaluation mode over all samples of `split`, on all ranks together.

    The report keeps the first `probe_samples` samples and, for figures, `pictures` images and as many confident
    mistakes; with `every_row`, the predictions for all images.

    `normalise` maps uint8 [n, height, width, 3] to network input; `batch_size` and the decoding `threads` are per rank.
    Each rank takes its own range of the samples and the sums are reduced once, so that no sample is padded, dropped or
    counted twice; the total is checked against the manifest. `progress` shows the progress of this rank. `stop` is
    called before every batch, equally often on all ranks, and must return the same on all of them. Raise JobError for
    damaged shards, and EvaluationStopped on all ranks when `stop` returns True.
    """
    classes = len(manifest.class_names)
    labelled = manifest.labels(domain, split) > 0
    device = accelerator.device
    tally = Tally(classes, device)
    first = manifest.samples(domain, split) * accelerator.process_index // accelerator.num_processes
    sampler = Sampler(probe_samples, pictures, pictures, accelerator.num_processes, first) if probe_samples else None
    collector = RowCollector() if every_row else None
    was_training = method.training
    method.eval()
    batches = read_split(
        manifest,
        store,
        domain,
        split,
        labelled=labelled,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        batch_size=batch_size,
        threads=threads,
    )
    own = manifest.samples(domain, split) / accelerator.num_processes
    batches = stoppable(batches, math.ceil(math.ceil(own) / batch_size), stop)
    for images, labels, keys in follow(batches, int(own), lambda batch: len(batch[2]), f"{domain} {split}", progress):
        with accelerator.autocast():
            output = method.predict(normalise(images.to(device, non_blocking=True)))
        log_probabilities = output.class_logits.float().log_softmax(1)
        tally.add(log_probabilities, labels)
        if sampler is not None:
            sampler.add(images, labels, keys, output, log_probabilities)
        if collector is not None:
            collector.add(keys, labels, log_probabilities)
    method.train(was_training)
    totals = tally.total(accelerator)
    total, expected = totals.samples, manifest.samples(domain, split)
    if total != expected:
        raise RuntimeError(f"evaluated {total} samples of {domain}/{split}, but the manifest lists {expected}")
    known = int(totals.confusion.sum())
    if labelled and known != manifest.labels(domain, split):
        raise RuntimeError(
            f"{domain}/{split} has {known} labels, but the manifest lists {manifest.labels(domain, split)}"
        )
    return DomainReport(
        domain=domain,
        split=split,
        samples=total,
        confusion=totals.confusion if labelled else None,
        predicted=totals.predicted,
        mean_probability=totals.probability / total,
        mean_entropy=totals.entropy / total,
        sample=sampler.gather() if sampler is not None else None,
        confidence=totals.confidence,
        rows=collector.gather() if collector is not None else None,
    )


def stoppable(batches: Iterator[Batch], rounds: int, stop: Callable[[], bool]) -> Iterator[Batch]:
    """Yield the batches; call `stop` `rounds` times, the largest number of batches of any rank.

    Raise EvaluationStopped when it returns True.
    """
    for _ in range(rounds):
        if stop():
            raise EvaluationStopped
        batch = next(batches, None)
        if batch is not None:
            yield batch
