"""Atomic writes, fsync, locks, regular files and checksums."""

import errno
import fcntl
import hashlib
import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from job.system.errors import JobError


def write_atomically(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a small file atomically. With `durable`, fsync it and its folder to survive a power cut. Raises OSError."""
    with atomic_path(path) as partial, open(partial, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        if durable:
            fsync_file(file)
    if durable:
        fsync_folder(path.parent)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; rename it to `path` on success, delete it on an error. Raises OSError."""
    partial = partial_of(path)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def writing(what: object, advice: str) -> Iterator[None]:
    """Raise an OSError of the block as a JobError that says what cannot be written, why, and what to do."""
    try:
        yield
    except OSError as error:
        raise JobError(f"cannot write {what} ({error.strerror}): {advice}") from None


def refuse_address(option: str, path: object, advice: str) -> None:
    """Raise JobError when the user gave an address such as s3://BUCKET/FOLDER as the folder of an option."""
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(path)):  # a Path has lost a slash
        raise JobError(f"{option}: {path} is not a folder: {advice}")


def make_folder(option: str, folder: Path) -> None:
    """Make the folder that the user gave by `option`. Raises JobError, which names the option, when that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(f"{option}: cannot make {error.filename} ({error.strerror}): choose another") from None


def check_output(option: str, path: Path) -> None:
    """Raise JobError, before any work, when the file that the user gave by `option` cannot be written."""
    if path.is_dir():
        raise JobError(f"{option} {path} is a folder: give the name of a file")
    make_folder(option, path.parent)
    partial = partial_of(path)
    try:
        if path.exists() and not path.is_file():
            raise JobError(f"{option} {path} is not a regular file: choose another")
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise JobError(f"{option}: cannot write {path} ({error.strerror}): choose another") from None


def partial_of(path: Path) -> Path:
    """Return the temporary name of a file while this process writes it; unique among processes and nodes."""
    return path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.partial")


def remove_partials(path: Path) -> None:
    """Delete the temporary files of `path` that killed processes have left."""
    for partial in path.parent.glob(f"{path.name}.*.partial"):
        partial.unlink(missing_ok=True)


def fsync_file(file: BinaryIO) -> None:
    """Flush and fsync an open file."""
    file.flush()
    os.fsync(file.fileno())


def fsync_folder(path: Path) -> None:
    """Fsync a folder, so that creations, renames and deletions in it survive a power cut. Raises OSError.

    Does nothing on file systems without it (CIFS, VirtualBox, some FUSE mounts), which offer no better guarantee.
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
    """Raised when another process has the lock. The message names the process if it is known."""


def lock(path: Path) -> TextIO:
    """Lock a file until the returned file is closed or the process ends, and write the owner into it.

    Raises InUse, and OSError on file systems without locks.
    """
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read().strip()
        file.close()
        if isinstance(error, BlockingIOError):
            raise InUse(owner or "another job") from None
        raise
    file.truncate(0)
    file.write(f"process {os.getpid()}{_here()}")
    file.flush()
    return file


def was_locked_here(path: Path) -> bool:
    """Return whether the last owner of a file's lock was a process of this node. Raises OSError."""
    return path.read_text(encoding="utf-8").endswith(_here())


def _here() -> str:
    return f" on {socket.gethostname()}"


def is_locked(path: Path) -> bool:
    """Return whether a process has a file's lock. Raises OSError if that cannot be checked."""
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


# Errors of file systems that cannot fsync a folder.
NO_FSYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.EBADF, errno.ENOSYS}
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises OSError, whose `strerror` says what the path is, for a folder, a device, a socket, or a FIFO, which would
    block forever.
    """
    _require_regular(path, os.stat(path).st_mode)  # before opening it, which can already affect a device
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require_regular(path, os.fstat(file).st_mode)  # the path may have been replaced in between
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
    """Return the sha256 (hex) of a file."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
