"""A shard that is read by position: from several threads at a time, and without a crash where the file fails.

Not a memory map: where a mapped file was cut short, or its disk or server fails, the process is killed by SIGBUS in
the middle of whatever touches the page. A read returns an error, which names the shard.
"""

import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

from job.shards.manifest import WRITE_AGAIN
from job.system.errors import JobError
from job.system.files import open_regular


class Identity(NamedTuple):
    """What changes when a file is replaced or written to: inode, size in bytes, time of the last change in ns."""

    inode: int
    size: int
    changed: int


class ShardFile:
    """A shard, open until nothing refers to it any more; it can be read to its end also after it was deleted.

    Raises OSError where it cannot be opened or is no regular file.
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
        # not an explicit close: a thread that still reads would get the bytes of the next file under this number
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, offset: int, size: int) -> bytes:
        """The bytes [offset, offset + size). Raises JobError where they cannot be read or are not there."""
        try:
            content = os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise self._unreadable(error) from None
        if len(content) != size:
            raise self._cut_short()
        return content

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill a writable buffer with the bytes from `offset` on. Raises JobError as `read` does."""
        while buffer:
            try:
                got = os.preadv(self._descriptor, [buffer], offset)
            except OSError as error:
                raise self._unreadable(error) from None
            if not got:
                raise self._cut_short()
            buffer, offset = buffer[got:], offset + got

    def stream(self) -> BinaryIO:
        """The file from its beginning, for readers that want a stream; one at a time."""
        stream = os.fdopen(os.dup(self._descriptor), "rb")
        stream.seek(0)
        return stream

    def _unreadable(self, error: OSError) -> JobError:
        return JobError(f"cannot read shard {self.path} ({error.strerror}): check the disk or the server that holds it")

    def _cut_short(self) -> JobError:
        return JobError(f"shard {self.path} was cut short while it was being read: {WRITE_AGAIN}")
