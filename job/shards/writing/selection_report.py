"""Describe the selected images of a data set for the user: labels, splits and classes of each domain."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from job.datasets.class_names import natural
from job.datasets.layout import Record
from job.shards.class_shares import compare_classes
from job.shards.writing.select_images import RecordSet
from job.vocabulary import DOMAINS, SPLITS, TARGET

_MAX_LISTED = 8  # names in a message


def describe(record_set: RecordSet, settings: dict[str, Any]) -> list[str]:
    """Return one or two lines per domain, one for the classes, and warnings."""
    lines, counts = [], {}
    for domain in DOMAINS:
        records = [record for record in record_set.records if record.domain == domain]
        if not records:
            continue  # --source none
        lines += _domain(domain, records, settings)
        labels = Counter(record.label for record in records if record.labelled)
        counts[domain] = [labels[label] for label in range(len(record_set.class_names))] if labels else None
    names = record_set.class_names
    lines.append(f"classes: {len(names)} ({_some(names)})")
    if record_set.unnamed:
        lines.append(
            f"{sum(record_set.unnamed.values())} images of the target have no label, because these names are not "
            f"classes: {_some(sorted(record_set.unnamed))}"
        )
    return lines + compare_classes(names, counts, record_set.left_out)


def unlabelled(records: Sequence[Record]) -> dict[str, dict[str, int]]:
    """Count the records without a label by domain and split, without zeros."""
    return _by_split(record for record in records if not record.labelled)


def subjects_unknown(records: Sequence[Record]) -> dict[str, int]:
    """Count the records without a subject by domain, without zeros."""
    counts = Counter(record.domain for record in records if record.subject is None)
    return {domain: counts[domain] for domain in DOMAINS if counts[domain]}


def _domain(domain: str, records: Sequence[Record], settings: dict[str, Any]) -> list[str]:
    labelled = sum(record.labelled for record in records)
    summary = f"{labelled} with a label, {len(records) - labelled} without"
    if labelled in (0, len(records)):
        summary = f"{len(records)} images, {'all' if labelled else 'none'} with a label"
    parts = _by_split(records).get(domain, {})
    without = unlabelled(records).get(domain, {})
    splits = ", ".join(
        f"{split} {n}" + (f" ({without[split]} without)" if split in without and labelled else "")
        for split, n in parts.items()
    )
    lines = [f"{domain}, {settings['options'][domain]}: {summary}; {splits}"]
    if domain == TARGET and labelled:
        kept = settings["keep_target_labels"]
        where = "to test each fold" if settings["options"].get("folds") else "for the test split"
        lines[0] += "; its labels are kept in all splits" if kept else f"; its labels are used {where} only"
    unknown = sum(record.subject is None for record in records)
    if unknown:
        which = "subjects unknown" if unknown == len(records) else f"subjects of {unknown} images unknown"
        if not settings["options"]["subjects"]:
            which = "subjects ignored (subjects=false)"
        lines.append(f"{domain}: {which}: split by image, so one person may be in train and in test")
    return lines


def _by_split(records) -> dict[str, dict[str, int]]:
    counts = Counter((record.domain, record.split) for record in records)
    splits = [*SPLITS, *sorted({split for _, split in counts} - {*SPLITS}, key=natural)]  # folds, by number
    domains = {domain: {s: counts[domain, s] for s in splits if counts[domain, s]} for domain in DOMAINS}
    return {domain: splits for domain, splits in domains.items() if splits}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_LISTED]) + (", ..." if len(names) > _MAX_LISTED else "")
