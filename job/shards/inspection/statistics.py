"""Compute statistics of the samples in a folder of shards: subjects, equal images, brightness and colours."""

import hashlib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from job.shards.manifest import Manifest
from job.shards.reading.decode import decode_into
from job.shards.reading.open_shards import OpenShards
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.subjects import subject_of
from job.shards.reading.tar_index import members

_MAX_DECODED = 1000  # images decoded per split, spread evenly

Where = tuple[str, str]  # domain, split


@dataclass
class SplitContents:
    """One split of one domain: normalised subjects, number of images without one, means over the pixels (0 to 255)."""

    subjects: set[str] = field(default_factory=set)
    unknown: int = 0
    image_bytes: float = 0.0  # mean
    mean: np.ndarray = field(default_factory=lambda: np.zeros(3))  # float64 [3], red, green, blue
    deviation: np.ndarray = field(default_factory=lambda: np.zeros(3))  # float64 [3], standard deviation of the pixels
    grey: float = 0.0  # share of images without colour


@dataclass
class Contents:
    """All splits, and the numbers of groups of equal images within one split, across splits and across domains."""

    splits: dict[Where, SplitContents]
    subjects_in_two_splits: list[str]
    within_split: int
    across_splits: int
    across_domains: int


def read_contents(manifest: Manifest, store: ShardStore) -> Contents:
    """Read every sample and decode some, skipping damaged images. Raises JobError for a shard that is not a tar."""
    splits: dict[Where, SplitContents] = {}
    occurrences: dict[bytes, tuple[Where, ...]] = {}  # digest of an image -> the split of each copy
    for domain, shards_of in manifest.domains.items():
        for split in shards_of:
            splits[domain, split] = _read_split(manifest, store, (domain, split), occurrences)
    shared = [
        f"{subject} ({domain})"
        for domain, shards_of in manifest.domains.items()
        for subject, n in sorted(Counter(s for split in shards_of for s in splits[domain, split].subjects).items())
        if n > 1
    ]
    copies = [set(where) for where in occurrences.values() if len(where) > 1]
    across = [{domain for domain, _ in where} for where in copies if len(where) > 1]
    return Contents(
        splits,
        shared,
        within_split=sum(len(where) == 1 for where in copies),
        across_splits=sum(len({split for _, split in where}) > 1 for where in copies),
        across_domains=sum(len(domains) > 1 for domains in across),
    )


def _read_split(manifest: Manifest, store: ShardStore, where: Where, occurrences: dict) -> SplitContents:
    contents = SplitContents()
    shards = OpenShards(manifest, *where, store, labelled=False, capacity=2)
    samples = sum(info.samples for info in shards.infos)
    wanted = set(np.linspace(0, samples - 1, min(samples, _MAX_DECODED)).astype(int).tolist())
    pixels = _Pixels(manifest.size)
    seen = size = 0
    for number, info in enumerate(shards.infos):
        shard = shards[number]
        for name, content in members(shard):
            if name.endswith(".json"):
                subject = subject_of(content)
                contents.unknown += subject is None
                if subject is not None:
                    contents.subjects.add(subject)
        for i in range(info.samples):
            jpeg = shard.jpeg(i)
            size += len(jpeg)
            digest = hashlib.sha256(jpeg).digest()[:16]
            occurrences[digest] = (*occurrences.get(digest, ()), where)
            if seen + i in wanted:
                with suppress(ValueError):  # --verify reports damaged images
                    decode_into(jpeg, pixels.image)
                    pixels.add()
        seen += info.samples
    contents.image_bytes = size / max(samples, 1)
    contents.mean, contents.deviation, contents.grey = pixels.statistics()
    return contents


class _Pixels:
    """Sums over the images that are decoded into `image`, uint8 [size, size, 3]."""

    def __init__(self, size: int) -> None:
        self.image = np.empty((size, size, 3), np.uint8)
        self._sum, self._squares, self._grey, self._count = np.zeros(3), np.zeros(3), 0, 0

    def add(self) -> None:
        values = self.image.reshape(-1, 3).astype(np.float64)
        self._sum += values.mean(0)
        self._squares += (values**2).mean(0)
        self._grey += bool(np.ptp(values, axis=1).max() <= 8)  # JPEG leaves a little colour in grey images
        self._count += 1

    def statistics(self) -> tuple[np.ndarray, np.ndarray, float]:
        count = max(self._count, 1)
        mean = self._sum / count
        return mean, np.sqrt(np.maximum(self._squares / count - mean**2, 0)), self._grey / count
