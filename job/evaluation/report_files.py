"""Evaluation files of a run: confusion matrices and prediction counts, as JSON."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from job.evaluation.evaluate import DomainReport
from job.system.files import write_atomically
from job.vocabulary import DOMAINS

log = logging.getLogger("job")


def write_reports(
    path: Path,
    step: int,
    reports: Sequence[DomainReport],
    class_names: Sequence[str],
    label_shift: dict[str, Any] | None = None,
    protocol: str | None = None,
) -> None:
    """Write confusion matrices and prediction counts of both domains as JSON. A full disk is logged as a warning.

    `label_shift` is the estimate of the target's class shares, if there is one; `protocol` is that of a test.
    """
    content: dict[str, Any] = {"step": step, "class_names": class_names}
    if protocol is not None:
        content["protocol"] = protocol
    if label_shift is not None:
        content["label_shift"] = label_shift
    content |= {role: as_json(report) for role, report in zip(DOMAINS, reports, strict=True)}
    try:
        write_atomically(path, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        log.warning("cannot write %s: %s", path, error)


def as_json(report: DomainReport) -> dict:
    """Return a report as JSON types."""
    return {
        "samples": report.samples,
        "labelled": report.labelled,
        "confusion": None if report.confusion is None else report.confusion.tolist(),
        "predicted": report.predicted.tolist(),
        "mean_entropy": report.mean_entropy if report.samples else None,
        "confidence": None if report.confidence is None else report.confidence.tolist(),
    }
