"""Test what the file system of a folder supports, instead of guessing from its name."""

import errno
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from job.system.files import InUse, fsync_file, lock, write_atomically


@dataclass(frozen=True)
class FolderProbe:
    """The abilities of a folder. If no file can be written, `error` is the reason and the other fields mean nothing."""

    error: str | None
    links: bool = False  # symbolic links
    folder_fsync: bool = False
    rename: bool = False  # of a file over another one, and of a folder
    locks: bool = False  # a locked file cannot be locked again
    free_bytes: int = 0


def probe_folder(folder: Path) -> FolderProbe:
    """Test what a run needs, in a temporary folder inside `folder` that is deleted at the end."""
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".probe-", dir=folder))
    except OSError as error:
        return FolderProbe(error.strerror or str(error))
    try:
        with open(scratch / "file", "wb") as file:
            file.write(b"some bytes")
            fsync_file(file)
        return FolderProbe(
            None, _links(scratch), _folder_fsync(scratch), _rename(scratch), _locks(scratch), _free(scratch)
        )
    except OSError as error:
        return FolderProbe(error.strerror or str(error))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _links(folder: Path) -> bool:
    with suppress(OSError):
        (folder / "link").symlink_to("file")
        return os.readlink(folder / "link") == "file"
    return False


def _folder_fsync(folder: Path) -> bool:
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            return True
        finally:
            os.close(descriptor)
    return False


def _rename(folder: Path) -> bool:
    try:
        (folder / "one").mkdir()
        write_atomically(folder / "one" / "file", "1")
        write_atomically(folder / "one" / "file", "2")
        os.rename(folder / "one", folder / "two")
        return (folder / "two" / "file").read_text() == "2"
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return False


def _locks(folder: Path) -> bool:
    try:
        with lock(folder / "lock"):
            try:
                lock(folder / "lock").close()
            except InUse:
                return True
    except OSError:
        pass
    return False


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
