"""Manifests that agree with shards which a test has changed, and changes to shards that keep their size."""

import json
import tarfile
from pathlib import Path

from job.system.files import sha256_of


def accept_changes(folder: Path) -> None:
    """Put the bytes, the sha256 and the class counts that every shard has now into the manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for splits in manifest["domains"].values():
        for shards in splits.values():
            for shard in shards:
                path = folder / shard["path"]
                shard |= {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
                if shard["labelled"]:
                    labels = [path.read_bytes()[at] - ord("0") for at in places_of_labels(path)]
                    shard["class_counts"] = [labels.count(i) for i in range(len(manifest["class_names"]))]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def places_of_labels(path: Path) -> list[int]:
    """Where the digits of the .cls members lie in a shard, in bytes."""
    with tarfile.open(path) as tar:
        return [member.offset_data for member in tar if member.name.endswith(".cls")]


def shift_labels(path: Path, classes: int) -> None:
    """Give every sample of a shard the next class, in place: neither the size nor any other byte changes."""
    content = bytearray(path.read_bytes())
    for at in places_of_labels(path):
        content[at] = ord("0") + (content[at] - ord("0") + 1) % classes
    path.write_bytes(content)


def manifest_alone(folder: Path, shards: int) -> str:
    """Write a manifest of `shards` training shards of each domain, without the shards; return its `file:` URL.

    Of remote shards only the manifest is read before the first step.
    """
    folder.mkdir()

    def split(domain: str, name: str, count: int) -> list[dict]:
        labels = domain == "source" or name == "test"
        made = {"samples": 500, "bytes": 10**6, "labelled": labels, "class_counts": [100] * 5 if labels else None}
        path = f"{domain}/{name}/{domain}-{name}"
        return [{"path": f"{path}-{i:06d}.tar", "sha256": f"{i:064x}", **made} for i in range(count)]

    counts = {"train": shards, "val": 4, "test": 4}
    domains = {d: {name: split(d, name, count) for name, count in counts.items()} for d in ("source", "target")}
    names = [f"class {i}" for i in range(5)]
    content = {"version": 1, "layout": "folders", "size": 32, "class_names": names, "seed": 0, "quality": 95}
    (folder / "manifest.json").write_text(json.dumps(content | {"domains": domains}))
    return folder.as_uri()
