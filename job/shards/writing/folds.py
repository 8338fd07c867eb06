"""Assign images to folds, disjoint by subject and content, stratified by domain and class, seeded."""

import warnings
from collections.abc import Sequence

import numpy as np

from job.datasets.layout import Record
from job.datasets.subjects import same_person
from job.shards.folds import fold_names
from job.shards.writing.splits import Item, only_subject, stay_together
from job.system.errors import JobError
from job.system.random_numbers import mix
from job.vocabulary import DOMAINS


def assign_folds(items: Sequence[Item], folds: int, *, seed: int, name: str) -> list[str]:
    """Return the fold of each item: `fold-0` and so on.

    Images of one subject, and equal images, stay together, in both domains. Splits of the data set are ignored. Raises
    JobError for fewer than two folds, and when a domain has too few subjects for an image in every fold.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # half a second, in every process of the command

    if folds < 2:
        raise JobError(f"--option folds={folds}: give 2 or more")
    groups = np.empty(len(items), np.int64)
    for number, unit in enumerate(stay_together(items)):
        groups[unit] = number
    domains = [domain for domain in DOMAINS if any(item.domain == domain for item in items)]
    for domain in domains:
        units = len({group for item, group in zip(items, groups.tolist()) if item.domain == domain})
        if units < folds:
            raise _too_few(name, domain, units, folds, only_subject(items, domain))
    strata = [f"{item.domain} {item.label}" for item in items]
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=mix(seed, "folds") % 2**32)
    assigned = [""] * len(items)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class with fewer images than folds is absent from some
        try:
            parts = [held for _, held in splitter.split(np.zeros(len(items)), strata, groups)]
        except ValueError:  # no class has as many images as there are folds
            raise JobError(f"layout {name}: too few images of each class for {folds} folds: use fewer") from None
    for fold, held in zip(fold_names(folds), parts):
        for i in held.tolist():
            assigned[i] = fold
    for domain in domains:
        filled = {fold for item, fold in zip(items, assigned) if item.domain == domain}
        if len(filled) < folds:
            raise _too_few(name, domain, len(filled), folds)
    return assigned


def in_folds(records: Sequence[Record], folds: int, *, seed: int, name: str) -> list[Record]:
    """Return the records of a layout that draws its images, with folds in place of splits."""
    items = [Item(r.domain, r.label, same_person(r.subject), r.origin, None) for r in records]
    assigned = assign_folds(items, folds, seed=seed, name=name)
    return [record._replace(split=fold) for record, fold in zip(records, assigned)]


def _too_few(name: str, domain: str, units: int, folds: int, cause: str = "") -> JobError:
    return JobError(
        f"layout {name}: {units} subjects or different images of the {domain} are too few for {folds} folds: "
        f"use fewer, add some, or set --option subjects=false{cause}"
    )
