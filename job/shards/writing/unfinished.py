"""Manage the folder of intermediate files until all shards are finished: converted images, receipts, a lock."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from job.system.errors import JobError
from job.system.files import InUse, lock, make_folder

UNFINISHED = ".unfinished"


@contextmanager
def exclusive_access(out: Path) -> Iterator[list[Path]]:
    """Create and lock the folder of intermediate files below `out`; yield the folders that this created.

    Raises JobError when another command is writing there, or the folder cannot be created.
    """
    folder = out / UNFINISHED
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder("--out", folder)
    try:
        locked = lock(folder / "lock")
    except InUse as holder:
        raise JobError(f"{out} is being written by {holder}: wait for it, or choose another --out") from None
    except OSError:  # the file system has no locks
        locked = nullcontext()
    with locked:
        yield created


@contextmanager
def remove_created_when_refused(out: Path, created: list[Path]) -> Iterator[None]:
    """Remove the folders that this command created when the block raises a JobError.

    Files of earlier commands, or of anyone else, are kept.
    """
    try:
        yield
    except JobError:
        for folder in created:
            if folder == out / UNFINISHED:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                with suppress(OSError):  # not empty
                    folder.rmdir()
        raise
