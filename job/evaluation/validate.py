"""Metrics of each validation and of the final test, under the names that dashboards rely on."""

from typing import Any

import numpy as np

from job.evaluation.a_distance import domain_metrics
from job.evaluation.evaluate import DomainReport
from job.evaluation.metrics import UNMEASURED, accuracy, macro_f1, recall
from job.evaluation.selection import Evidence, scores
from job.metric_names import TEST_SOURCE, TEST_TARGET


def validation_metrics(evidence: Evidence, class_names, score: str) -> dict[str, float]:
    """Return the metrics of the validation splits; `score` is the configured one.

    Names of metrics that need target labels start with ``oracle/``.
    """
    source, target = evidence.source, evidence.target
    metrics = _measures(source, class_names, "val/source") | domain_metrics(source.sample, target.sample)
    for name, value in scores(evidence).items():
        if name != "target_accuracy" or name == score:  # otherwise it is reported as oracle/target_accuracy
            metrics[f"selection/{name}"] = value
    for name, share in zip(class_names, target.predicted / target.samples, strict=True):
        metrics[f"val/target_prediction_share/{name}"] = float(share)
    return metrics | oracle_metrics(target, class_names)


def oracle_metrics(target: DomainReport, class_names, prefix: str = "oracle/target") -> dict[str, float]:
    """Return accuracy, macro-F1 and recall per class on the target; empty without target labels."""
    return _measures(target, class_names, prefix)


def _measures(report: DomainReport, class_names, prefix: str) -> dict[str, float]:
    if report.confusion is None:
        return {}
    metrics = {f"{prefix}_accuracy": accuracy(report.confusion), f"{prefix}_macro_f1": macro_f1(report.confusion)}
    for name, value in zip(class_names, recall(report.confusion), strict=True):
        if np.isfinite(value):
            metrics[f"{prefix}_recall/{name}"] = float(value)
    return metrics


def final_metrics(source: DomainReport, target: DomainReport, class_names) -> dict[str, float]:
    """Return the metrics of the test splits, for the chosen checkpoint; those of a domain without labels are absent."""
    metrics = {}
    if source.confusion is not None:
        metrics = {TEST_SOURCE: accuracy(source.confusion), "test/source_macro_f1": macro_f1(source.confusion)}
    return metrics | oracle_metrics(target, class_names, "oracle/test_target")


def headline(tested: dict[str, float], target: dict[str, Any] | None) -> str:
    """Return the result in one line. `target` is the target's part of the evaluation file, with the label counts."""
    parts = [f"{name} {tested[name]:.4f}" for name in (TEST_SOURCE, TEST_TARGET) if name in tested]
    if TEST_TARGET not in tested:
        return "; ".join([*parts, UNMEASURED])
    text = ", ".join(parts)
    labelled = int(np.sum(target["confusion"])) if target and target["confusion"] is not None else None
    if labelled is not None and target is not None and labelled < target["samples"]:
        text += f" (on {labelled} of {target['samples']} target images: the rest have no label)"
    return text
