"""Read and check the manifest once on each node: its other ranks map what the first one has read."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import gather_object

from job.config.schema import Config
from job.shards.manifest import Manifest
from job.shards.manifest_copy import map_copy, write_copy
from job.system.errors import JobError
from job.system.ranks import Problem, raise_first
from job.training.inputs import open_manifest

SHARED_MEMORY = "/dev/shm"


def load_shared_manifest(config: Config, accelerator: Accelerator, hosts: Sequence[str]) -> Manifest:
    """Return the manifest with the splits of the run, as `open_manifest` does. All ranks must call this."""
    return share_manifest(accelerator, hosts, lambda: open_manifest(config))


def share_manifest(accelerator: Accelerator, hosts: Sequence[str], read: Callable[[], Manifest]) -> Manifest:
    """Return the manifest that `read` returns; `hosts` are the nodes of the ranks. All ranks must call this.

    The first rank of each node parses the manifest and looks for the shards; 512 ranks that all did would each need a
    second and 100 MB for 30,000 shards, and ask a shared file system for 15 million files. If the other ranks cannot
    see the copy, as in separate containers, they read the manifest too. A JobError of `read` is raised on every rank.
    """
    if accelerator.num_processes == 1:
        return read().compact()
    rank = accelerator.process_index
    leader = hosts.index(hosts[rank])
    manifest, copy, problem = None, None, None
    if rank == leader:
        try:
            manifest = read().compact()
            copy = _write(manifest) if hosts.count(hosts[rank]) > 1 else None
        except JobError as error:
            problem = Problem.here(accelerator, error)
    copies = gather_object([(copy, problem)])
    try:
        raise_first(accelerator, [problem for _, problem in copies])
    except JobError:
        _remove(copy)
        raise
    if manifest is None:
        manifest = _map(copies[leader][0]) or read().compact()
    accelerator.wait_for_everyone()
    _remove(copy)
    return manifest


def _remove(copy: str | None) -> None:
    if copy is not None:
        Path(copy).unlink(missing_ok=True)


def _write(manifest: Manifest) -> str | None:
    """Write a copy for the other ranks of this node; return its path, or None where there is no room."""
    folder = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else tempfile.gettempdir()
    path = None
    try:
        descriptor, path = tempfile.mkstemp(prefix="manifest-", dir=folder)
        with os.fdopen(descriptor, "wb") as file:
            write_copy(manifest, file)
    except OSError:
        if path is not None:
            Path(path).unlink(missing_ok=True)
        return None
    return path


def _map(path: str | None) -> Manifest | None:
    try:
        return None if path is None else map_copy(Path(path))
    except (OSError, ValueError):
        return None
