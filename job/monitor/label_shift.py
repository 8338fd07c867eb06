"""Judge the estimated and the predicted class shares of a target, for alerts and for the report."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from job.evaluation.intervals import share_difference
from job.monitor.alerts import Alert

APART = 0.1  # total variation distance of the target's class shares from the source's
PREDICTED_APART = 0.2  # difference of the share of one class between source labels and target predictions


def is_apart(estimate: Mapping[str, Any]) -> bool:
    """Return whether the class shares differ by more than a tenth, than chance, and than errors explain.

    `estimate` is the part `label_shift` of an evaluation file. Chance: the interval of at least one class excludes the
    source's share. Errors: the estimated share of wrong predictions is below the low end of the distance, and the two
    estimators agree (`trust` of the estimate is above 0).
    """
    target = estimate["target"]
    surely = any(
        not low <= share <= high for share, low, high in zip(estimate["source"], target["low"], target["high"])
    )
    believed = estimate["distance_low"] > estimate["target_error"] and estimate.get("trust", 1.0) > 0
    return bool(surely and believed and estimate["distance"] > APART)


def verdict(estimate: Mapping[str, Any]) -> str:
    """Describe the distance of the class shares in one sentence."""
    low, high, error = (f"{100 * estimate[key]:.0f}" for key in ("distance_low", "distance_high", "target_error"))
    explain = "cannot" if estimate["distance_low"] > estimate["target_error"] else "can"
    if estimate.get("disagreement", 0.0) >= estimate["distance"] > APART:
        apart = f"{100 * estimate['disagreement']:.0f} %"
        return (
            f"unknown: the estimates by MLLS and by BBSE differ by {apart}, as they do when most predictions are wrong"
        )
    return (
        f"{100 * estimate['distance']:.0f} % of the target would change class to have the source's shares (95 %: "
        f"{low} to {high} %); wrong predictions, an estimated {error} % of the target, {explain} explain that (the "
        "estimate is often too low when the network is confident)"
    )


def alert_of(evaluation: Mapping[str, Any], class_names: list[str]) -> Alert | bool | None:
    """Return the alert of an evaluation file: False without a cause, None without an estimate.

    A run that corrects the shares raises none.
    """
    estimate = evaluation.get("label_shift")
    if not estimate:
        return None
    if estimate.get("corrected") or not is_apart(estimate):
        return False
    source, target = estimate["source"], estimate["target"]
    widest = max(range(len(source)), key=lambda i: abs(target["share"][i] - source[i]))
    return Alert(
        "label shift",
        f"{verdict(estimate)}; most for {class_names[widest]} (source {100 * source[widest]:.0f} %, target "
        f"{100 * target['low'][widest]:.0f} to {100 * target['high'][widest]:.0f} %): aligning the domains then moves "
        "classes onto each other; compare with a run with objective.label_shift=correct",
    )


def classes_apart(evaluation: dict[str, Any]) -> list[str]:
    """Describe the classes whose shares in source labels and target predictions differ by more than chance."""
    source, target = evaluation["source"], evaluation["target"]
    if source["confusion"] is None:
        return []
    true, predicted = np.sum(source["confusion"], 1).tolist(), target["predicted"]
    labelled, total = sum(true), sum(predicted)
    apart = []
    for name, one, other in zip(evaluation["class_names"], true, predicted, strict=True):
        low, high = share_difference(other, total, one, labelled)
        if labelled and total and abs(other / total - one / labelled) >= PREDICTED_APART and (low > 0 or high < 0):
            apart.append(
                f"{other} of {total} target images ({100 * other / total:.0f} %) are predicted as {name}, but {one} "
                f"of {labelled} source images ({100 * one / labelled:.0f} %) are {name}"
            )
    return apart
