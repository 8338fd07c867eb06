"""Read the subject of each sample: the key `subject` of its JSON, if there is one."""

import json

from job.datasets.subjects import same_person
from job.shards.manifest import Manifest
from job.shards.reading.open_shards import OpenShards
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.tar_index import members


def read_subjects(manifest: Manifest, store: ShardStore, domain: str, split: str) -> list[str | None]:
    """Return the subject of every sample of a split, in the order of the shards; None where it is unknown."""
    shards = OpenShards(manifest, domain, split, store, labelled=False, capacity=1)
    subjects: list[str | None] = []
    for number, info in enumerate(shards.infos):
        shard = shards[number]
        known = {
            name.removesuffix(".json"): subject_of(content)
            for name, content in members(shard)
            if name.endswith(".json")
        }
        subjects += [known.get(shard.key(i)) for i in range(info.samples)]
    return subjects


def subject_of(content: bytes) -> str | None:
    """Return the subject in the JSON of a sample, in the form for comparisons; None where there is none."""
    try:
        subject = json.loads(content).get("subject")
    except (ValueError, AttributeError, RecursionError):
        return None
    return None if subject is None else same_person(str(subject))
