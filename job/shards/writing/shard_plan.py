"""Assign records to shards before anything is written, so that the result does not depend on the number of workers."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from job.datasets.layout import Layout, Record
from job.datasets.subjects import same_person
from job.shards.folds import fold_names, is_fold
from job.shards.manifest import Manifest
from job.system.errors import JobError
from job.system.random_numbers import mix, permutation
from job.vocabulary import DOMAINS, SPLITS, TARGET

TRAIN_SHARDS = 64  # the fewest by default: up to that many ranks can share the training split
SAMPLES_PER_SHARD = 2000
EVALUATION_SHARDS = 4


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One shard to write. Sample i gets the key `<domain>-<split>-<first + i>`, which does not reveal the label.

    `labelled` is whether the labels of records that have one are written.
    """

    path: str
    domain: str
    split: str
    labelled: bool
    first: int
    records: Sequence[Record]

    def __reduce__(self):
        """Pickle by columns, which takes a third of the time of rows."""
        columns = zip(*self.records)
        return _from_columns, (self.path, self.domain, self.split, self.labelled, self.first, *columns)


def group_records(
    layout: Layout, records: Sequence[Record], folds: int | None = None
) -> dict[tuple[str, str], list[Record]]:
    """Group records by (domain, split), in the order of DOMAINS and SPLITS, or of the folds.

    Raises JobError without records, for a label out of range, a repeated key, or a subject in two splits.
    """
    splits = fold_names(folds) if folds else SPLITS
    groups: dict[tuple[str, str], list[Record]] = {(d, s): [] for d in DOMAINS for s in splits}
    split_of: dict[tuple[str, str], str] = {}
    keys = set()
    for record in records:
        if (record.domain, record.split) not in groups:
            raise JobError(
                f"layout {layout.name}: {record.origin} has domain {record.domain!r} and split "
                f"{record.split!r}: domains are {', '.join(DOMAINS)}, splits {', '.join(splits)}"
            )
        if not (0 <= record.label < len(layout.class_names) or (not record.labelled and record.domain == TARGET)):
            raise JobError(
                f"layout {layout.name}: {record.origin} has label {record.label}: "
                f"there are {len(layout.class_names)} classes, counted from 0"
            )
        person = record.domain, same_person(record.subject)
        if record.subject is not None and split_of.setdefault(person, record.split) != record.split:
            raise JobError(
                f"layout {layout.name}: subject {record.subject} of the {record.domain} is in "
                f"{record.split} and in {split_of[person]}: splits must be disjoint by subject"
            )
        keys.add((record.domain, record.split, record.key))
        groups[record.domain, record.split].append(record)
    if len(keys) != len(records):
        raise JobError(f"layout {layout.name}: {len(records) - len(keys)} records repeat the key of another")
    groups = {where: group for where, group in groups.items() if group}
    if not groups:
        raise JobError(f"layout {layout.name} found no images: check --root")
    return groups


def plan_shards(
    groups: dict[tuple[str, str], list[Record]],
    *,
    seed: int,
    shards: int | None,
    keep_target_labels: bool,
    folds: int | None = None,
) -> list[ShardPlan]:
    """Shuffle the records of each split by `seed` and cut them into shards whose sizes differ by one at most.

    `shards` is the number for the training splits. Raises JobError for more shards than samples.
    """
    plans = []
    for (domain, split), records in groups.items():
        count = shard_count(split, len(records), shards, folds)
        if count > len(records):
            raise JobError(
                f"--shards {shards} is more than the {len(records)} images of {domain}/{split}: "
                f"use {len(records)} or fewer"
            )
        shuffled = [records[i] for i in permutation(mix(seed, "shards", domain, split), len(records))]
        edges = np.linspace(0, len(records), count + 1).astype(int).tolist()
        tested = split == "test" or is_fold(split)  # each fold is the test of a run, which reads no other labels
        kept = domain != TARGET or tested or keep_target_labels
        for i, (first, end) in enumerate(pairwise(edges)):
            path = f"{domain}/{split}/{domain}-{split}-{i:06d}.tar"
            chunk = shuffled[first:end]
            labelled = kept and any(record.labelled for record in chunk)
            plans.append(ShardPlan(path, domain, split, labelled, first, chunk))
    return plans


def _from_columns(path: str, domain: str, split: str, labelled: bool, first: int, *columns: tuple) -> ShardPlan:
    return ShardPlan(path, domain, split, labelled, first, list(map(Record._make, zip(*columns))))


def digest_records(records: Sequence[Record]) -> str:
    """Return the sha256 (hex) of the records of a layout without files, which determine its shards."""
    digest = hashlib.sha256()
    for r in records:
        digest.update(json.dumps([r.key, r.domain, r.split, r.label, r.subject, r.origin]).encode())
    return digest.hexdigest()


def limited_ranks(manifest: Manifest) -> list[str]:
    """Return a warning if the training shards limit the ranks to fewer than the default number of shards would."""
    counts = {domain: len(splits.get("train", ())) for domain, splits in manifest.domains.items()}
    fewest = min((count for count in counts.values() if count), default=TRAIN_SHARDS)
    if fewest >= TRAIN_SHARDS:
        return []
    domain = next(domain for domain, count in counts.items() if count == fewest)
    images = manifest.samples(domain, "train")
    most = min(images, TRAIN_SHARDS)
    more = f"--shards {most} or more would allow more" if most > fewest else "there are no more images"
    return [f"{domain}/train has {fewest} shard(s): up to {fewest} rank(s) can train on them; {more}"]


def shard_count(split: str, samples: int, shards: int | None, folds: int | None = None) -> int:
    """Return the number of shards of a split; `shards` overrides the default of training splits.

    Folds have as many as all but one of them need together.
    """
    if folds:
        return min(samples, math.ceil(shard_count("train", samples * (folds - 1), shards) / (folds - 1)))
    wanted = math.ceil(samples / SAMPLES_PER_SHARD)
    if split != "train":
        return min(samples, max(EVALUATION_SHARDS, wanted))
    if shards is not None:
        return shards
    return min(
        samples, math.ceil(wanted / TRAIN_SHARDS) * TRAIN_SHARDS
    )  # a multiple of TRAIN_SHARDS, so that streams have equal length
