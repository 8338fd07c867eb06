"""Host memory of a rank against the number of samples in the manifest, without the images.

Each size is measured in a new process that holds torch and the job's modules already: the growth of its memory by the
manifest and by the order of the samples of both domains. `first` is the first rank of a node, which parses the
manifest; `other` maps the copy that it wrote, whose pages the ranks of a node share. `private` is the growth that no
other process shares, `peak` the largest growth at any time. Images and buffers are not part of it: they do not depend
on the number of samples.
"""

import json
import multiprocessing
import re
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, machine, print_table, write_result
from job.config.load import build_config
from job.shards.manifest import Manifest
from job.shards.manifest_copy import map_copy, write_copy
from job.shards.reading.domain_stream import DomainStream
from job.shards.reading.shard_cache import ShardStore
from job.training.inputs import open_manifest
from job.vocabulary import DOMAINS, SOURCE

SAMPLES = [10**power for power in range(3, 8)]  # training samples per domain
PER_SHARD, CLASSES, STREAMS, BATCH = 1000, 7, 16, 64
LEAST_SHARDS = 16  # as many as streams
STEPS = 5  # batches whose order is drawn
MIB = 2**20


def write_manifest(folder: Path, samples: int) -> str:
    """Write a manifest of `samples` training samples per domain, without the shards; return its URL.

    A URL, because the job looks for the shards of a folder before the first step.
    """

    def split(domain: str, name: str, count: int) -> list[dict[str, Any]]:
        shards = max(LEAST_SHARDS, count // PER_SHARD)
        labelled = domain == SOURCE or name == "test"
        entries = []
        for i in range(shards):
            held = count * (i + 1) // shards - count * i // shards
            counts = [held * (c + 1) // CLASSES - held * c // CLASSES for c in range(CLASSES)]
            entry = {"path": f"{domain}/{name}/{domain}-{name}-{i:06d}.tar", "samples": held, "bytes": 4096 * held}
            entry |= {"sha256": f"{i:064x}", "labelled": labelled, "class_counts": counts if labelled else None}
            entries.append(entry)
        return entries

    sizes = {"train": samples, "val": 1000, "test": 1000}
    content = {
        "version": 1,
        "layout": "folders",
        "size": 64,
        "class_names": [f"class {c}" for c in range(CLASSES)],
        "seed": 0,
        "quality": 95,
        "domains": {domain: {name: split(domain, name, count) for name, count in sizes.items()} for domain in DOMAINS},
    }
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder.as_uri()


def memory() -> dict[str, int]:
    """Return bytes of this process: those in memory, those that no other process shares, and the peak."""
    status, rollup = Path("/proc/self/status").read_text(), Path("/proc/self/smaps_rollup").read_text()
    kib = lambda name, text: sum(int(n) for n in re.findall(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE))  # noqa: E731
    return {
        "resident": 1024 * kib("VmRSS", status),
        "private": 1024 * (kib("Private_Clean", rollup) + kib("Private_Dirty", rollup)),
        "peak": 1024 * kib("VmHWM", status),
    }


def growth(manifest_of, cache: Path) -> dict[str, Any]:
    """Return the growth of this process in MiB while it reads a manifest, and while it orders the samples."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
    before = memory()
    manifest: Manifest = manifest_of()
    read = memory()
    store = ShardStore("file:///nothing", cache, False)
    settings = {"seed": 0, "streams": STREAMS, "global_batch_size": BATCH}
    streams = [DomainStream(manifest, d, store, labelled=d == SOURCE, **settings) for d in DOMAINS]
    last = streams[0].samples // BATCH
    for stream in streams:
        for step in (*range(STEPS), *range(last, last + STEPS)):
            stream._order.batch(step, stream._streams)
    after = memory()
    return {
        "manifest": (read["resident"] - before["resident"]) / MIB,
        "order": (after["resident"] - read["resident"]) / MIB,
        "private": (after["private"] - before["private"]) / MIB,
        "peak": (after["peak"] - before["resident"]) / MIB,
        "before": before["resident"] / MIB,
    }


def measured(folder: Path, samples: int, role: str) -> dict[str, Any]:
    """Measure as the first rank of a node, or as another one."""
    copy = folder / "copy"
    if role == "first":
        content = {"name": "memory", "data": {"shards": folder.as_uri(), "global_batch_size": BATCH}}
        config = build_config(content, "benchmark")
        manifests: list[Manifest] = []

        def manifest_of() -> Manifest:
            manifests.append(open_manifest(config).compact())
            return manifests[0]

        figures = growth(manifest_of, folder / "cache")
        with open(copy, "wb") as file:
            write_copy(manifests[0], file)
        shards = sum(len(manifests[0].shards(domain, "train")) for domain in DOMAINS)
        figures |= {"shards": shards, "manifest_mib": (folder / "manifest.json").stat().st_size / MIB}
    else:
        figures = growth(lambda: map_copy(copy), folder / "cache")
        figures |= {"copy_mib": copy.stat().st_size / MIB}
    return {"samples": samples, "rank": role, **figures}


def main(words: list[str] | None = None) -> None:
    parser = arguments(__doc__.splitlines()[0], "memory")
    parser.add_argument("--samples", type=int, nargs="+", default=SAMPLES, help="training samples per domain")
    options = parser.parse_args(words)
    where = machine()
    # torch and the job are imported once, and each task has a new process
    pool = multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1)
    rows = []
    with pool:
        for samples in options.samples:
            with tempfile.TemporaryDirectory() as folder:
                pool.apply(write_manifest, (Path(folder), samples))
                rows += [pool.apply(measured, (Path(folder), samples, role)) for role in ("first", "other")]
    heads = ("samples per domain", "rank", "manifest, MiB", "order, MiB", "private, MiB", "peak, MiB")
    names = ("samples", "rank", "manifest", "order", "private", "peak")
    print_table([heads, *([row[name] for name in names] for row in rows)])
    write_result(options.out, "memory", {"samples_per_shard": PER_SHARD, "streams": STREAMS, "rows": rows}, where)


if __name__ == "__main__":
    main()
