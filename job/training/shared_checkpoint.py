"""Read or download a checkpoint once on each node: its other ranks load the copy."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object

from job.run_folder.checkpoint import Checkpoint, copy_checked
from job.run_folder.checkpoint_meta import WEIGHTS
from job.run_folder.remote_checkpoint import address_of, fetch, opened, resolve, temporary_folder
from job.system.errors import JobError
from job.system.ranks import Problem, on_main, raise_first
from job.training.shared_manifest import SHARED_MEMORY

ROOM = 2  # of the memory that is free in SHARED_MEMORY, the copy takes at most 1 / ROOM


@contextlib.contextmanager
def shared_checkpoint(
    resumed: Checkpoint | None, accelerator: Accelerator, hosts: Sequence[str]
) -> Iterator[Checkpoint | None]:
    """Yield the checkpoint, as this rank should load it. All ranks must enter and leave it together.

    The first rank of each node reads the files, compares their checksums, and writes the copy, which is deleted at the
    end; without it, 512 ranks would read and check every file twice, each for itself. A rank that is alone on its node,
    a node without room in its shared memory, and a rank that cannot see the copy, as in a container, read the
    checkpoint itself. Raises JobError, on every rank, when it is damaged.
    """
    if resumed is None or accelerator.num_processes == 1:
        yield resumed
        return
    rank = accelerator.process_index
    leader = hosts.index(hosts[rank])
    copy, problem = None, None
    if rank == leader and hosts.count(hosts[rank]) > 1:
        try:
            copy = _write(resumed)
        except JobError as error:
            problem = Problem.here(accelerator, error)
    try:
        found = gather_object([(copy, problem)])
        raise_first(accelerator, [each for _, each in found])
        yield _opened(resumed, found[leader][0])
        accelerator.wait_for_everyone()
    finally:
        if copy is not None:
            shutil.rmtree(copy, ignore_errors=True)


@contextlib.contextmanager
def fetched_checkpoint(path: str | Path, accelerator: Accelerator, hosts: Sequence[str]) -> Iterator[Checkpoint]:
    """Yield a checkpoint to evaluate: a folder, or an address. All ranks must enter and leave it together.

    The first rank of each node downloads what is at an address; a rank that cannot see the download, as in a container,
    makes its own. Raises JobError, of an address on every rank, when it is not complete or cannot be fetched.
    """
    given = address_of(path)
    if given is None or accelerator.num_processes == 1:
        with opened(path) as checkpoint:
            yield checkpoint
        return
    address = on_main(accelerator, lambda: resolve(given))  # once: `best` may move meanwhile
    leader = hosts.index(hosts[accelerator.process_index])
    with temporary_folder() as folder:
        copy, problem = None, None
        if accelerator.process_index == leader:
            try:
                copy = fetch(address, folder)
            except JobError as error:
                problem = Problem.here(accelerator, error)
        found = gather_object([(copy, problem)])
        raise_first(accelerator, [each for _, each in found])
        theirs = found[leader][0]
        yield theirs if os.path.isfile(theirs.path / WEIGHTS) else fetch(address, folder)
        accelerator.wait_for_everyone()


def _write(resumed: Checkpoint) -> str | None:
    """Copy the files to shared memory; return the folder, or None where there is no room. Raises JobError."""
    size = sum(resumed.meta["bytes"].values())
    folder = None
    try:
        if not os.access(SHARED_MEMORY, os.W_OK) or shutil.disk_usage(SHARED_MEMORY).free < ROOM * size:
            return None
        folder = tempfile.mkdtemp(prefix="checkpoint-", dir=SHARED_MEMORY)
        copy_checked(resumed, Path(folder))
    except OSError:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return None
    except JobError:
        shutil.rmtree(folder or "", ignore_errors=True)
        raise
    return folder


def _opened(resumed: Checkpoint, copy: str | None) -> Checkpoint:
    """Return the copy as a checkpoint, whose files were checked when it was written; the original without a copy."""
    if copy is None or not all(os.path.isfile(os.path.join(copy, name)) for name in resumed.meta["bytes"]):
        return resumed
    meta: dict[str, Any] = {**resumed.meta, "sha256": {}}
    return Checkpoint(Path(copy), meta)
