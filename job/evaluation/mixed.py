"""Predictions on mixed target images, for the score `mixval`."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from job.evaluation.evaluate import stoppable
from job.evaluation.selection.evidence import Mixes
from job.evaluation.selection.mixval import SHARE
from job.methods.base import Method
from job.shards.manifest import Manifest
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.whole_split import read_split


@torch.no_grad()
def predict_mixes(
    method: Method,
    accelerator: Accelerator,
    manifest: Manifest,
    store: ShardStore,
    domain: str,
    split: str,
    predicted: np.ndarray,
    normalise: Callable[[Tensor], Tensor],
    batch_size: int,
    threads: int,
    stop: Callable[[], bool],
) -> Mixes:
    """Predict mixes of the first n images of a split, of which `predicted` [n] are the predicted classes.

    Image i is mixed with image i + n // 2, the same at every evaluation and on any number of ranks; both become the
    dominant one in turn. Pairs of one predicted class are left out. Collective: each rank mixes its share of the pairs.
    `stop` is called before every batch, equally often on all ranks. Raise EvaluationStopped when it returns True.
    """
    half = len(predicted) // 2
    rank, ranks = accelerator.process_index, accelerator.num_processes
    first, end = (half * r // ranks for r in (rank, rank + 1))
    apart = predicted[:half] != predicted[half : 2 * half]
    size = max(1, batch_size // 2)  # pairs, of two mixes each
    was_training = method.training
    method.eval()

    def images(rows: range) -> Iterator[Tensor]:
        batches = read_split(
            manifest, store, domain, split, labelled=False, rows=rows, batch_size=size, threads=threads
        )
        return (images for images, _, _ in batches)

    answers: list[np.ndarray] = []
    pairs = zip(images(range(first, end)), images(range(half + first, half + end)), strict=True) if apart.any() else ()
    rounds = math.ceil(math.ceil(half / ranks) / size) if apart.any() else 0
    for one, other in stoppable(iter(pairs), rounds, stop):
        chosen = torch.from_numpy(apart[first : first + len(one)])
        first += len(one)
        if chosen.any():
            a, b = (normalise(part[chosen].to(accelerator.device)) for part in (one, other))
            mixes = torch.cat([SHARE * a + (1 - SHARE) * b, SHARE * b + (1 - SHARE) * a])
            with accelerator.autocast():
                logits = method.predict(mixes).class_logits
            answers.append(logits.argmax(1).reshape(2, -1).cpu().numpy())
    method.train(was_training)
    gathered = gather_object(answers)
    dominant = np.stack([predicted[:half][apart], predicted[half : 2 * half][apart]])
    answered = np.concatenate([np.zeros((2, 0), np.int64), *gathered], axis=1)
    return Mixes(dominant.ravel(), answered.ravel())
