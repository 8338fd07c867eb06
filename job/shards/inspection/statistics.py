"""What the samples of a folder of shards are like: subjects, equal images, brightness and colours of each domain."""

import hashlib
import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from job.datasets.subjects import same_person
from job.shards.manifest import Manifest
from job.shards.reading.decode import decode_into
from job.shards.reading.open_shards import OpenShards
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.tar_index import members

_LOOK = 1000  # images of a split that are decoded for the statistics, spread evenly

Where = tuple[str, str]  # domain, split


@dataclass
class SplitContents:
    """One split of one domain: subjects as they are compared, images without one, means over the pixels (0 to 255)."""

    subjects: set[str] = field(default_factory=set)
    unknown: int = 0
    image_bytes: float = 0.0  # mean
    mean: np.ndarray = field(default_factory=lambda: np.zeros(3))  # float64 [3], red, green, blue
    deviation: np.ndarray = field(default_factory=lambda: np.zeros(3))  # float64 [3], of the pixels around that mean
    grey: float = 0.0  # share of images without colour


@dataclass
class Contents:
    """Every split, and in how many groups of equal images there are some in one split, in several, in both domains."""

    splits: dict[Where, SplitContents]
    subjects_in_two_splits: list[str]
    within_split: int
    across_splits: int
    across_domains: int


def read_contents(manifest: Manifest, store: ShardStore) -> Contents:
    """Read every sample but decode only some, as far as they can be. Raises JobError for a shard that is no tar."""
    splits: dict[Where, SplitContents] = {}
    places: dict[bytes, tuple[Where, ...]] = {}  # of each image by its digest: one place for each copy
    for domain, held in manifest.domains.items():
        for split in held:
            splits[domain, split] = _read_split(manifest, store, (domain, split), places)
    shared = [
        f"{subject} ({domain})"
        for domain, held in manifest.domains.items()
        for subject, n in sorted(Counter(s for split in held for s in splits[domain, split].subjects).items())
        if n > 1
    ]
    copies = [set(where) for where in places.values() if len(where) > 1]
    across = [{domain for domain, _ in where} for where in copies if len(where) > 1]
    return Contents(
        splits,
        shared,
        within_split=sum(len(where) == 1 for where in copies),
        across_splits=sum(len({split for _, split in where}) > 1 for where in copies),
        across_domains=sum(len(domains) > 1 for domains in across),
    )


def _read_split(manifest: Manifest, store: ShardStore, where: Where, places: dict) -> SplitContents:
    contents = SplitContents()
    shards = OpenShards(manifest, *where, store, labelled=False, capacity=2)
    samples = sum(info.samples for info in shards.infos)
    wanted = set(np.linspace(0, samples - 1, min(samples, _LOOK)).astype(int).tolist())
    pixels = _Pixels(manifest.size)
    seen = size = 0
    for number, info in enumerate(shards.infos):
        shard = shards[number]
        for name, content in members(shard):
            if name.endswith(".json"):
                subject = _subject(content)
                contents.unknown += subject is None
                if subject is not None:
                    contents.subjects.add(subject)
        for i in range(info.samples):
            jpeg = shard.jpeg(i)
            size += len(jpeg)
            digest = hashlib.sha256(jpeg).digest()[:16]
            places[digest] = (*places.get(digest, ()), where)
            if seen + i in wanted:
                with suppress(ValueError):  # to find damage is the affair of --verify
                    decode_into(jpeg, pixels.picture)
                    pixels.add()
        seen += info.samples
    contents.image_bytes = size / max(samples, 1)
    contents.mean, contents.deviation, contents.grey = pixels.statistics()
    return contents


class _Pixels:
    """Sums over the pictures put into `picture`, uint8 [size, size, 3]."""

    def __init__(self, size: int) -> None:
        self.picture = np.empty((size, size, 3), np.uint8)
        self._sum, self._squares, self._grey, self._count = np.zeros(3), np.zeros(3), 0, 0

    def add(self) -> None:
        values = self.picture.reshape(-1, 3).astype(np.float64)
        self._sum += values.mean(0)
        self._squares += (values**2).mean(0)
        self._grey += bool(np.ptp(values, axis=1).max() <= 8)  # JPEG leaves a little colour in grey pictures
        self._count += 1

    def statistics(self) -> tuple[np.ndarray, np.ndarray, float]:
        count = max(self._count, 1)
        mean = self._sum / count
        return mean, np.sqrt(np.maximum(self._squares / count - mean**2, 0)), self._grey / count


def _subject(content: bytes) -> str | None:
    try:
        subject = json.loads(content).get("subject")
    except (ValueError, AttributeError, RecursionError):
        return None
    return None if subject is None else same_person(str(subject))
