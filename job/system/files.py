"""Files that are there whole or not at all, at any moment, and their checksums."""

import errno
import fcntl
import hashlib
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from job.system.errors import JobError


def write_atomically(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a small file; `durable` waits until it would survive a power cut too. Raises OSError."""
    with whole(path) as partial, open(partial, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        if durable:
            to_disk(file)
    if durable:
        folder_to_disk(path.parent)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """The name to write a file under: it is renamed when all has gone well, and else deleted. Raises OSError."""
    partial = partial_of(path)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def writing(what: object, advice: str) -> Iterator[None]:
    """Turn an OSError into the JobError that says what cannot be written, why, and what to do."""
    try:
        yield
    except OSError as error:
        raise JobError(f"cannot write {what} ({error.strerror}): {advice}") from None


def make_folder(option: str, folder: Path) -> None:
    """Make a folder that the user named by `option`. Raises JobError, which says so, where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(f"{option}: cannot make {error.filename} ({error.strerror}): choose another") from None


def check_output(option: str, path: Path) -> None:
    """Raise JobError, before any work, where the file that the user named by `option` cannot be written."""
    if path.is_dir():
        raise JobError(f"{option} {path} is a folder: give the name of a file")
    make_folder(option, path.parent)
    partial = partial_of(path)
    try:
        if path.exists() and not path.is_file():
            raise JobError(f"{option} {path} is no ordinary file: choose another")
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise JobError(f"{option}: cannot write {path} ({error.strerror}): choose another") from None


def partial_of(path: Path) -> Path:
    """What this process calls a file until it is whole; other nodes may be at it too."""
    return path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.partial")


def remove_partials(path: Path) -> None:
    """Delete what processes that were killed have left of a file."""
    for partial in path.parent.glob(f"{path.name}.*.partial"):
        partial.unlink(missing_ok=True)


def to_disk(file: BinaryIO) -> None:
    """Wait until what was written lies on the disk."""
    file.flush()
    os.fsync(file.fileno())


def folder_to_disk(path: Path) -> None:
    """Fsync a folder, so that creations, renames and deletions in it survive a power cut. Raises OSError.

    Does nothing on file systems that cannot (CIFS, VirtualBox, some FUSE mounts): they have no better guarantee.
    """
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # writable but not readable
        return
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in NO_FSYNC:
            raise
    finally:
        os.close(folder)


class InUse(Exception):
    """Another process has the lock; the message says which, as far as is known."""


def lock(path: Path) -> TextIO:
    """Lock a file, in which it is said who has it, until the returned one is closed or the process ends.

    Raises InUse, and OSError where there are no locks.
    """
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        if isinstance(error, BlockingIOError):
            raise InUse(holder or "another job") from None
        raise
    file.truncate(0)
    file.write(f"process {os.getpid()}{_here()}")
    file.flush()
    return file


def was_locked_here(path: Path) -> bool:
    """Whether it was a process of this node that had a file's lock last. Raises OSError."""
    return path.read_text(encoding="utf-8").endswith(_here())


def _here() -> str:
    return f" on {socket.gethostname()}"


def is_locked(path: Path) -> bool:
    """Whether a process has a file's lock. Raises OSError where that cannot be told."""
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


# How file systems say that they cannot fsync a folder.
NO_FSYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.EBADF, errno.ENOSYS}
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file for reading; a FIFO, which would block for ever, a device, a socket or a folder is refused.

    Raises OSError, whose `strerror` says what the path is.
    """
    _require_regular(path, os.stat(path).st_mode)  # before opening: that alone can have an effect on a device
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require_regular(path, os.fstat(file).st_mode)  # it may have been exchanged in between
        return os.fdopen(file, "rb")
    except BaseException:
        os.close(file)
        raise


def read_regular(path: str | Path, most: int | None = None) -> bytes:
    """Read a regular file of at most `most` bytes. Raises OSError as `open_regular` does, and for a larger file."""
    with open_regular(path) as file:
        content = file.read() if most is None else file.read(most + 1)
    if most is not None and len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most} bytes", str(path))
    return content


def require_regular(path: str | Path) -> None:
    """Raise OSError, whose `strerror` says what the path is, unless it is a regular file."""
    _require_regular(path, os.stat(path).st_mode)


def _require_regular(path: str | Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"it is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a file", str(path))


def sha256_of(path: Path) -> str:
    """sha256 (hex) of a file."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
