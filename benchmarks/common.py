"""Helpers of all benchmarks: arguments, the machine, a table, a JSON file."""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_PACKAGES = (
    "torch",
    "torchvision",
    "accelerate",
    "numpy",
    "simplejpeg",
    "webdataset",
    "opencv-python-headless",
    "pillow",
)


def arguments(description: str, name: str) -> argparse.ArgumentParser:
    """Return a parser with --out, by default benchmarks/results/NAME.json."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    default = Path("benchmarks/results") / f"{name}.json"
    parser.add_argument("--out", type=Path, default=default, help=f"JSON file to write (default: {default})")
    return parser


def read_seeds(words: str | None, default: int) -> list[int]:
    """Return the seeds of --seeds: of one number N (by default `default`) the first N, else those that are given.

    `--seeds 3` and `--seeds 0,1,2` are the same; with `join_lists` on the arguments so is `--seeds 0 1 2`.
    """
    seeds = [int(seed) for seed in (words or str(default)).split(",")]
    return seeds if len(seeds) > 1 or seeds == [0] else [*range(*seeds)]


def domain_streams(
    folder: Path | str,
    streams: int,
    global_batch_size: int,
    block_shards: int = 4,
    decoded_gib: float = 0,
    verify: bool = True,
):
    """DomainStreams of both domains of the shards in a folder, as one rank reads them, seed 0.

    `decoded_gib` is the memory for decoded images: with none, every image is decoded whenever it comes up. `verify`
    says whether the sha256 of every shard is checked when it is opened (data.verify).
    """
    from job.shards.manifest import load_manifest
    from job.shards.reading.domain_stream import DomainStream
    from job.shards.reading.image_memory import DecodedImages
    from job.shards.reading.shard_cache import ShardStore
    from job.vocabulary import DOMAINS, SOURCE

    manifest, store = load_manifest(folder), ShardStore(folder, verify=verify)
    settings = {"streams": streams, "global_batch_size": global_batch_size, "block_shards": block_shards, "seed": 0}
    settings["decoded"] = DecodedImages(int(decoded_gib * 2**30))
    return [DomainStream(manifest, d, store, labelled=d == SOURCE, **settings) for d in DOMAINS]


def machine() -> dict[str, Any]:
    """Describe the machine: processor, usable cores, GPU or "none", memory in GiB, system."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": gpu,
        "gpus": torch.cuda.device_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the relevant packages that are installed."""
    installed = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def write_result(out: Path, name: str, result: dict[str, Any], where: dict[str, Any] | None = None) -> None:
    """Write a result with machine, versions and command; `where` is an earlier result of machine()."""
    content = {
        "benchmark": name,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join([f"python -m benchmarks.{name}", *map(_without_folder, sys.argv[1:])]),
        "machine": where or machine(),
        "versions": versions(),
        "result": result,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content, indent=1) + "\n")
    print(f"\nwritten to {out}")


def _without_folder(word: str) -> str:
    """Return a word of the command line; of an absolute path, which says where this machine has what, only the name."""
    option, equals, value = word.rpartition("=")
    return f"{option}{equals}{Path(value).name}" if Path(value).is_absolute() else word


def print_table(rows: Sequence[Sequence[Any]]) -> None:
    """Print rows of cells, the headings first; the first column is left-aligned, the others right-aligned."""
    cells = [
        [
            f"{cell:.3g}"
            if isinstance(cell, float) and abs(cell) < 100
            else f"{cell:,.0f}"
            if isinstance(cell, float)
            else str(cell)
            for cell in row
        ]
        for row in rows
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    for row in cells:
        print("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))))


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
