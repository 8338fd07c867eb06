"""Exact evaluation: every sample of a split once, on any number of ranks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from job.data.cache import ShardStore
from job.data.manifest import Manifest
from job.data.stream import read_split
from job.models.dann import DANN


@dataclass(frozen=True)
class DomainReport:
    """Predictions for one split of one domain, C classes, summed over all ranks."""

    domain: str
    split: str
    samples: int
    confusion: np.ndarray | None  # int64 [C, C], rows are true classes; None: no labels
    predicted: np.ndarray  # int64 [C], how often each class was predicted
    mean_probability: np.ndarray  # float64 [C], mean predicted distribution
    mean_entropy: float  # nats, mean entropy of the single predictions
    features: np.ndarray  # float32 [at most probe_samples, width], of the first samples of every rank


@torch.no_grad()
def evaluate_domain(
    model: DANN,
    accelerator: Accelerator,
    manifest: Manifest,
    store: ShardStore,
    domain: str,
    split: str,
    normalise: Callable[[Tensor], Tensor],
    batch_size: int,
    probe_samples: int = 0,
) -> DomainReport:
    """Run the model in evaluation mode over `split`; uses labels where the shards carry them.

    `normalise` maps uint8 [n, height, width, 3] to network input; `batch_size` is per rank. Each rank takes its own
    range of the samples and the sums are reduced once, so that nothing is padded, dropped or counted twice; the total
    is checked against the manifest. Raises JobError for damaged shards.
    """
    classes = len(manifest.class_names)
    labelled = manifest.labelled(domain, split)
    device = accelerator.device
    counts = torch.zeros(classes * classes + classes + 1, dtype=torch.int64, device=device)
    sums = torch.zeros(classes + 1, dtype=torch.float64, device=device)
    features: list[Tensor] = []
    wanted = -(-probe_samples // accelerator.num_processes)
    was_training = model.training
    model.eval()
    batches = read_split(
        manifest,
        store,
        domain,
        split,
        labelled=labelled,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        batch_size=batch_size,
    )
    for images, labels, _ in batches:
        with accelerator.autocast():
            output = model(normalise(images.to(device, non_blocking=True)))
        log_probabilities = output.class_logits.float().log_softmax(1)
        probabilities = log_probabilities.exp()
        predicted = log_probabilities.argmax(1)
        if labelled:
            pairs = labels.to(device) * classes + predicted
            counts[: classes * classes] += torch.bincount(pairs, minlength=classes * classes)
        counts[classes * classes : -1] += torch.bincount(predicted, minlength=classes)
        counts[-1] += len(predicted)
        sums[:classes] += probabilities.sum(0)
        sums[classes] -= (probabilities * log_probabilities).sum()
        if wanted > 0:
            features.append(output.features[:wanted].float().cpu())
            wanted -= len(features[-1])
    model.train(was_training)
    counts = accelerator.reduce(counts, "sum").cpu().numpy()
    sums = accelerator.reduce(sums, "sum").cpu().numpy()
    total, expected = int(counts[-1]), manifest.samples(domain, split)
    if total != expected:
        raise RuntimeError(f"evaluated {total} samples of {domain}/{split} and the manifest counts {expected}")
    gathered = gather_object(features) if probe_samples else []
    return DomainReport(
        domain=domain,
        split=split,
        samples=total,
        confusion=counts[: classes * classes].reshape(classes, classes) if labelled else None,
        predicted=counts[classes * classes : -1],
        mean_probability=sums[:classes] / total,
        mean_entropy=float(sums[classes] / total),
        features=torch.cat(gathered).numpy()[:probe_samples] if gathered else np.zeros((0, 0), np.float32),
    )
