"""Compare two models on the same images: McNemar's test, and the difference clustered by subject."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from scipy.stats import binomtest

from job.evaluation.intervals import wilson
from job.evaluation.predictions import predict_rows
from job.evaluation.protocol import note
from job.evaluation.results.bootstrap import DRAWS, ends
from job.evaluation.rows import Rows
from job.system.errors import JobError
from job.vocabulary import TARGET


def compare_checkpoints(
    paths: Sequence[Path], split: str = "test", shards: str | None = None, allow_pipe: bool = False
) -> dict[str, Any]:
    """Evaluate two checkpoints, or the best ones of two runs, on the target, and return the result of `compare_pair`.

    Raises JobError when the images, the classes or the protocols differ.
    """
    accelerator = Accelerator()
    one, other = (predict_rows(path, accelerator, [TARGET], split, shards, allow_pipe)[TARGET] for path in paths)
    for what, first, second in (
        ("protocol", one.protocol, other.protocol),
        ("classes", one.class_names, other.class_names),
        ("test images", one.shards, other.shards),
    ):
        if first != second:
            shown = f" ({first} and {second})" if what == "protocol" else ""
            raise JobError(f"{paths[0]} and {paths[1]} have different {what}{shown}: their results do not compare")
    result = compare_pair(one.rows, other.rows, one.subjects)
    return {"checkpoints": list(map(str, paths)), "split": split, "protocol": one.protocol} | result


def compare_pair(one: Rows, other: Rows, subjects: Sequence[str | None]) -> dict[str, Any]:
    """Return the accuracies of both, the images that only one of them predicts rightly, and two tests.

    `mcnemar_p` is the exact two-sided p-value (McNemar 1947), which treats the images as independent. `difference` is
    the accuracy of `other` minus that of `one`, with the 95 % interval of a paired bootstrap of subjects. Raises
    JobError when the images differ or none has a label.
    """
    if one.keys != other.keys or not np.array_equal(one.labels, other.labels):
        raise JobError("the two were evaluated on different images: compare checkpoints on the same test images")
    known = one.labels >= 0
    if not known.any():
        raise JobError("the images have no labels: McNemar's test counts right and wrong predictions")
    first, second = (rows.predicted[known] == one.labels[known] for rows in (one, other))
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    names = [subject or key for subject, key, label in zip(subjects, one.keys, known, strict=True) if label]
    return {
        "images": int(known.sum()),
        "subjects": len({subject for subject, label in zip(subjects, known, strict=True) if label and subject}),
        "accuracy": [float(first.mean()), float(second.mean())],
        "only_first_right": only_first,
        "only_second_right": only_second,
        "mcnemar_p": float(binomtest(only_first, discordant).pvalue) if discordant else 1.0,
        "difference": float(second.mean() - first.mean()),
        "difference_interval": paired_interval(second.astype(float) - first.astype(float), names),
    }


def paired_interval(differences: np.ndarray, clusters: Sequence[str]) -> list[float]:
    """Return the 95 % interval of the mean of differences [n] in [-1, 1] over the images, drawn by cluster.

    Where no image of any cluster differs, or there is one cluster, all draws are the same, and another cluster could
    still differ: the interval then has the width of Wilson's for none of so many.
    """
    _, numbers = np.unique(np.array(clusters), return_inverse=True)
    count = int(numbers.max()) + 1
    sums, images = np.bincount(numbers, differences, count), np.bincount(numbers, minlength=count)
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=DRAWS)
    low, high = (float(edge) for edge in ends((weights @ sums) / (weights @ images)))
    if low == high and (low in (-1, 0, 1) or count == 1):
        room = wilson(0, count).high
        low, high = max(low - room, -1.0), min(high + room, 1.0)
    return [low, high]


def pair_text(result: dict[str, Any]) -> str:
    """Return the result of `compare_checkpoints` as lines."""
    low, high = result["difference_interval"]
    by = f"{result['subjects']} subjects" if result["subjects"] else "images, whose subjects are unknown"
    return "\n".join(
        [
            *(f"{value:.4f}  {name}" for name, value in zip(result["checkpoints"], result["accuracy"], strict=True)),
            *note(result["protocol"]),
            f"{result['images']} images: {result['only_first_right']} are right with the first alone, "
            f"{result['only_second_right']} with the second alone",
            f"McNemar's exact test: p = {result['mcnemar_p']:.3g}; it treats the images as independent",
            f"second - first: {result['difference']:+.4f} (95 %: {low:+.4f} to {high:+.4f}, by a bootstrap of {by})",
        ]
    )
