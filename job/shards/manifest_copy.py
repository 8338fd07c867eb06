"""A copy of a manifest that the processes of a node map into memory: its fields as JSON, its tables as plain arrays."""

import json
import mmap
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from job.shards.manifest import Manifest
from job.shards.shard_table import ShardTable

_ALIGNMENT = 64
_LENGTH = 8  # bytes of the number at the start: the length of the JSON text


def write_copy(manifest: Manifest, file: BinaryIO) -> None:
    """Write a manifest of `Manifest.compact`."""
    fields = manifest.model_dump(mode="json", exclude={"domains"})
    arrays: list[np.ndarray] = []
    at, domains = 0, dict[str, Any]()
    for domain, splits in manifest.domains.items():
        domains[domain] = {split: {} for split in splits}
        for split, shards in splits.items():
            for name, array in ShardTable.of(shards).columns.items():
                domains[domain][split][name] = at, array.dtype.str, array.shape
                arrays.append(array)
                at += _padded(array.nbytes)
    head = json.dumps({"fields": fields, "hash": manifest.hash, "domains": domains}).encode()
    file.write(len(head).to_bytes(_LENGTH, "little") + head)
    file.write(bytes(_padded(_LENGTH + len(head)) - _LENGTH - len(head)))
    for array in arrays:
        file.write(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
        file.write(bytes(_padded(array.nbytes) - array.nbytes))


def map_copy(path: Path) -> Manifest:
    """Return the manifest of a copy, whose tables stay in the file: it may be deleted afterwards."""
    with open(path, "rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    length = int.from_bytes(memory[:_LENGTH], "little")
    content: dict[str, Any] = json.loads(memory[_LENGTH : _LENGTH + length])
    first = _padded(_LENGTH + length)

    def array(at: int, dtype: str, shape: list[int]) -> np.ndarray:
        count = int(np.prod(shape))
        return np.frombuffer(memory, dtype, count, first + at if count else 0).reshape(shape)

    domains = {
        domain: {
            split: ShardTable({name: array(*place) for name, place in columns.items()})
            for split, columns in splits.items()
        }
        for domain, splits in content["domains"].items()
    }
    fields = content["fields"] | {"class_names": tuple(content["fields"]["class_names"])}
    return Manifest.with_tables(fields, domains, content["hash"])


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
