"""Check that this machine can read the shards, and how fast."""

import os
import time

from job.config.schema import Config
from job.doctor.findings import FAIL, WARN, Finding, below
from job.shards.manifest import Manifest, is_remote
from job.system.errors import JobError
from job.training.inputs import domain_names, open_manifest, open_store

MEGABYTE = 1_000_000
_ADVICE = "write them (docs/data.md), mount them on every node, or correct data.shards"
_NONE = "write them (docs/data.md), and give --config to check the shards of a run"


def _read_in_training(config: Config, manifest: Manifest) -> list[str]:
    """Return the domains with a training split, and those that the method needs one of."""
    reads = config.objective.reads
    return [
        name
        for role, name in domain_names(config).items()
        if role in reads or "train" in manifest.domains.get(name, {})
    ]


def read_shards(
    config: Config, rank: int = 0, seconds: float = 3.0, *, needed: bool = True
) -> tuple[list[Finding], str]:
    """Read training shards for `seconds`, different ones on each rank. Return findings and the manifest's hash.

    Unless they are `needed`, a folder that does not exist is a warning.
    """
    place = config.data.shards
    if not needed and not is_remote(place) and not os.path.exists(place):
        return [Finding("shards", WARN, f"none at {place}: not checked", _NONE)], ""
    try:
        manifest = open_manifest(config)
        names = _read_in_training(config, manifest)
        shards = [shard for name in names for shard in manifest.shards(name, "train")]
        store = open_store(config)
        read, began = 0, time.perf_counter()
        for number in range(len(shards)):
            shard = shards[(rank * 7 + number) % len(shards)]
            with open(store.open(shard), "rb", buffering=0) as file:
                while chunk := file.read(4 * 2**20):
                    read += len(chunk)
            if time.perf_counter() - began > seconds:
                break
        speed = read / (time.perf_counter() - began)
    except (JobError, OSError) as error:
        return [Finding("shards", FAIL, str(error), _ADVICE)], ""
    samples = sum(manifest.samples(name, "train") for name in names)
    size = sum(shard.bytes for shard in shards) / samples
    result = f"{len(shards)} readable, {speed / MEGABYTE:.0f} MB/s, {speed / size:.0f} images/s of {size / 1000:.1f} kB"
    advice = "copy them to a disk of the node, or name them as a URL (file://...) with data.cache_dir on one"
    enough = 16 * MEGABYTE  # below this, opening files dominates the time
    return [below("shards", speed if read > enough else enough, enough, 0, result, advice)], manifest.hash
