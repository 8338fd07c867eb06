"""The folder of what is kept until all shards are finished: converted images, receipts of shards, a lock."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from job.system.errors import JobError
from job.system.files import InUse, lock, make_folder

UNFINISHED = ".unfinished"


@contextmanager
def alone(out: Path) -> Iterator[list[Path]]:
    """Make the folder below `out` and keep a second command out of it; yields the folders that were made for it.

    Raises JobError when another command is writing there, or the folder cannot be made.
    """
    folder = out / UNFINISHED
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder("--out", folder)
    try:
        held = lock(folder / "lock")
    except InUse as holder:
        raise JobError(f"{out} is being written by {holder}: wait for it, or choose another --out") from None
    except OSError:  # a file system without locks
        held = nullcontext()
    with held:
        yield made


@contextmanager
def leave_nothing_when_refused(out: Path, made: list[Path]) -> Iterator[None]:
    """Remove the folders that this command has made when a JobError says that its request cannot be met.

    What an earlier command has left there, or anybody else, stays.
    """
    try:
        yield
    except JobError:
        for folder in made:
            if folder == out / UNFINISHED:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                with suppress(OSError):  # not empty
                    folder.rmdir()
        raise
