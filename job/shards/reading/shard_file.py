"""Read a shard by position: from several threads at a time, and without a crash when the file cannot be read.

Not a memory map: when a mapped file is truncated, or its disk or server fails, SIGBUS kills the process at its next
access to the page. A failed read raises an error that names the shard.
"""

import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

from job.shards.manifest import WRITE_AGAIN
from job.system.errors import JobError
from job.system.files import open_regular


class Identity(NamedTuple):
    """Identifies the content of a file, until it is replaced or changed: inode, size in bytes, last change in ns."""

    inode: int
    size: int
    changed: int


class ShardFile:
    """A shard, open as long as it is referenced; it stays readable after the file is deleted.

    Raises OSError when the file cannot be opened or is not a regular file.
    """

    __slots__ = ("_descriptor", "identity", "path")

    def __init__(self, path: Path):
        self._descriptor = -1
        self.path = path
        with open_regular(path) as file:
            self._descriptor = os.dup(file.fileno())
        status = os.fstat(self._descriptor)
        self.identity = Identity(status.st_ino, status.st_size, status.st_mtime_ns)

    def __del__(self) -> None:
        # no explicit close: a thread that still reads would get the bytes of the next file with this descriptor
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes [offset, offset + size). Raises JobError when they cannot be read or are past the end."""
        try:
            content = os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise self._unreadable(error) from None
        if len(content) != size:
            raise self._cut_short()
        return content

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill a writable buffer with the bytes from `offset`. Raises JobError as `read` does."""
        while buffer:
            try:
                got = os.preadv(self._descriptor, [buffer], offset)
            except OSError as error:
                raise self._unreadable(error) from None
            if not got:
                raise self._cut_short()
            buffer, offset = buffer[got:], offset + got

    def stream(self) -> BinaryIO:
        """Return the file as a stream from its beginning; use only one at a time."""
        stream = os.fdopen(os.dup(self._descriptor), "rb")
        stream.seek(0)
        return stream

    def _unreadable(self, error: OSError) -> JobError:
        return JobError(f"cannot read shard {self.path} ({error.strerror}): check the disk or the server that holds it")

    def _cut_short(self) -> JobError:
        return JobError(f"shard {self.path} was cut short while it was being read: {WRITE_AGAIN}")
