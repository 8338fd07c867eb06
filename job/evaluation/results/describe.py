"""Describe the predictions for a domain, and the gap between two, as JSON types."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from job.evaluation.intervals import wilson
from job.evaluation.results import measures
from job.evaluation.results.bootstrap import Clusters, ends, interval, one_interval
from job.evaluation.results.measures import Sums


def describe_domain(clusters: Clusters, class_names: Sequence[str]) -> dict[str, Any]:
    """Return accuracy, macro-F1, calibration error with intervals, and the measures of each class.

    A value that is not defined (the precision of a class that is never predicted) is None.
    """
    total, draws = clusters.total, clusters.draws()
    named = {
        "accuracy": measures.accuracy,
        "macro_f1": measures.macro_f1,
        "expected_calibration_error": measures.expected_calibration_error,
    }
    count = clusters.subjects + clusters.single
    content: dict[str, Any] = {
        "images": round(float(total.images.sum())),
        "clusters": {"subjects": clusters.subjects, "images": clusters.single},
    }
    content |= {
        name: {"value": _number(measure(total)), "interval": list(map(_number, one_interval(measure, draws)))}
        for name, measure in named.items()
    }
    for name in ("accuracy", "macro_f1"):
        content[name]["interval"] = _never_certain(content[name]["interval"], count)
    content["classes"] = _classes(total, draws, class_names, count)
    content["reliability"] = {
        name: [_number(value) for value in values]
        for name, values in (
            ("images", total.bin_images),
            ("confidence", total.bin_confidence / np.maximum(total.bin_images, 1)),
            ("accuracy", total.bin_right / np.maximum(total.bin_images, 1)),
        )
    }
    return content


def describe_gap(source: Clusters, target: Clusters) -> dict[str, Any]:
    """Return the accuracy on the source minus that on the target, whose subjects are drawn independently."""
    value = measures.accuracy(source.total) - measures.accuracy(target.total)
    one, other = (measures.accuracy(each.draws()) for each in (source, target))
    low, high = ends(one - np.random.default_rng(1).permutation(other))  # both are drawn with the same seed
    return {"value": _number(value), "interval": [_number(low), _number(high)]}


def _never_certain(ends: list[float | None], clusters: int) -> list[float | None]:
    """Return the interval of a share, or Wilson's for as many images as there are clusters where the draws say nothing.

    If all images of four people are right, so are those of every draw; a fifth person may still be mistaken. With a
    single person all draws are the same.
    """
    low, high = ends
    if low is None or low != high or (0 < low < 1 and clusters > 1):
        return ends
    return list(wilson(low * clusters, clusters))


def _classes(total: Sums, draws: Sums, class_names: Sequence[str], clusters: int) -> dict[str, dict[str, Any]]:
    """Return the measures of each class. At most as many of the clusters as a class has images contain it."""
    named = {"precision": measures.precision, "recall": measures.recall, "f1": measures.f1}
    values = {name: measure(total) for name, measure in named.items()}
    edges = {name: interval(measure, draws) for name, measure in named.items()}
    return {
        label: {"images": round(float(total.images[number]))}
        | {name: _number(values[name][number]) for name in named}
        | {
            f"{name}_interval": _never_certain(
                [_number(edge) for edge in edges[name][:, number]], min(clusters, round(float(total.images[number])))
            )
            for name in named
        }
        for number, label in enumerate(class_names)
    }


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
