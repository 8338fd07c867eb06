"""Read the content of a URL, with limits: neither a silent server nor an endless answer can block a run forever.

Object stores (`s3://`, `gs://`, `az://`, `hf://`) are read through fsspec. Other URLs are opened by webdataset, which
starts a program for most schemes (curl, a shell command for `pipe:`) and reads its output.
"""

import contextlib
import os
import re
import select
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from subprocess import TimeoutExpired
from typing import Any, BinaryIO
from urllib.parse import quote, urlparse
from urllib.request import url2pathname

import psutil

from job.system.errors import JobError, first_line
from job.system.files import open_regular
from job.system.object_store import ObjectStore, is_object_store
from job.system.transfer import RemoteError

PERIOD_SECONDS = 60.0  # of waiting, in which at least LEAST_BYTES must arrive
LEAST_BYTES = 64 << 10
_CHUNK = 1 << 20
_PIECE = 4 << 20  # bytes of an object that are requested at a time: every request costs a round trip
_AHEAD = 3  # pieces that are requested at the same time
_WAKE_SECONDS = 0.2  # the longest time to notice that the reader was closed
_SAFE_IN_SHELL = re.compile(r"[\w./=+@,-]+", re.ASCII)
_CURL = {  # exit codes
    3: "the address is malformed",
    6: "the name of the host could not be resolved",
    7: "no connection to the host",
    18: "the transfer broke off",
    22: "the server answered with an error, such as 404 or 403",
    28: "no connection in time",
    35: "TLS failed",
    56: "the connection was reset",
    60: "the certificate was not accepted",
}


def url_of(base: str, path: str) -> str:
    """Return the URL of a file below `base`. Raises JobError for a name that is not safe in the shell of `pipe:`."""
    scheme = urlparse(base).scheme
    if scheme == "pipe" and not _SAFE_IN_SHELL.fullmatch(path):
        raise JobError(f"the manifest names a shard {path!r}, which is not safe in a shell command: rename it")
    return f"{base}/{quote(path) if scheme in ('http', 'https', 'file', 'ftps') else path}"


def read_remote(url: str, most: int, closed: threading.Event | None = None) -> Iterator[bytes]:
    """Yield the content of a URL piece by piece, at most `most` bytes in all.

    Raises RemoteError when the transfer fails, when fewer than LEAST_BYTES (of an object store: the next piece) arrive
    in PERIOD_SECONDS of waiting, when the content is larger than `most`, or when another thread sets `closed`; and
    OSError, for `file:` URLs.
    """
    total = 0
    with contextlib.closing(_open(url, most, closed)) as transfer:
        while chunk := transfer.read(closed):
            total += len(chunk)
            _check_size(total, most)
            yield chunk


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise RemoteError(f"it is larger than the {most} bytes that were expected")


def _open(url: str, most: int, closed: threading.Event | None) -> "_Program | _Stream | _Object":
    if urlparse(url).scheme == "file":
        return _Stream(open_regular(url2pathname(urlparse(url).path)))
    if is_object_store(url):
        return _Object(url, most, closed)
    from webdataset import gopen  # which imports torch: 250 MB that staged shards do not need

    try:
        stream = gopen(url, "rb")
    except Exception as error:  # whatever the handler of this scheme raises
        raise RemoteError(first_line(error), permanent=True) from error
    return _Program(stream) if hasattr(stream, "proc") else _Stream(stream)


class _Object:
    """An object of a store, read in pieces; the next ones are requested while the caller works on one."""

    def __init__(self, url: str, most: int, closed: threading.Event | None):
        self._store = ObjectStore(url, closed)
        self._ahead: deque[tuple[int, Future[bytes]]] = deque()
        self._requested = 0
        self._size = self._store.size()
        _check_size(self._size, most)

    def read(self, closed: threading.Event | None) -> bytes:
        """Return the next piece, empty at the end."""
        while self._requested < self._size and len(self._ahead) < _AHEAD:
            length = min(_PIECE, self._size - self._requested)
            request = self._store.request("", self._requested, self._requested + length)
            self._ahead.append((length, request))
            self._requested += length
        if not self._ahead:
            return b""
        length, request = self._ahead.popleft()
        piece = self._store.result(request)
        if len(piece) != length:
            raise RemoteError(f"the transfer broke off: {len(piece)} of {length} bytes came")
        return piece

    def close(self) -> None:
        for _, request in self._ahead:
            request.cancel()


class _Stream:
    """A file, or another object of a webdataset handler, whose reads do not block for long."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream

    def read(self, closed: threading.Event | None) -> bytes:
        _check_open(closed)
        try:
            return self._stream.read(_CHUNK)
        except Exception as error:  # whatever the handler's object raises
            raise RemoteError(first_line(error)) from error

    def close(self) -> None:
        self._stream.close()


class _Program:
    """The output of a program that webdataset started (its `Pipe`)."""

    def __init__(self, pipe: Any):
        self._pipe = pipe
        self._descriptor = pipe.stream.fileno()
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)
        self._waited, self._came = 0.0, 0

    def read(self, closed: threading.Event | None) -> bytes:
        """Return the next bytes, empty at the end. Raises RemoteError when they are too slow or the program failed."""
        while not self._ready():
            _check_open(closed)
            if self._waited < PERIOD_SECONDS:
                continue
            if self._came < LEAST_BYTES:
                raise RemoteError(
                    f"it stalled: {self._came} bytes came in {self._waited:.0f} s, at least {LEAST_BYTES} are required"
                )
            self._waited, self._came = 0.0, 0
        _check_open(closed)
        chunk = os.read(self._descriptor, _CHUNK)  # past the buffered reader, which would wait for a full buffer
        self._came += len(chunk)
        if not chunk:
            self._check_exit()
        return chunk

    def _ready(self) -> bool:
        """Wait up to `_WAKE_SECONDS` for bytes; only this time counts as waiting, not that of the caller's work."""
        began = time.monotonic()
        ready = self._poll.poll(1000 * _WAKE_SECONDS)
        self._waited += time.monotonic() - began
        return bool(ready) and self._waited < PERIOD_SECONDS

    def _check_exit(self) -> None:
        try:
            code = self._pipe.proc.wait(PERIOD_SECONDS)
        except TimeoutExpired:
            raise RemoteError("its program ended the output but does not exit") from None
        if code not in self._pipe.ignore_status:
            command = self._pipe.args[0][0]
            name = "the command" if isinstance(command, str) else command[0]
            why = _CURL.get(code) if name == "curl" else None
            raise RemoteError(f"{why}; curl exit code {code}" if why else f"{name} ended with exit code {code}")

    def close(self) -> None:
        """Kill the program, and its children, if they still run."""
        if self._pipe.proc.poll() is None:
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(self._pipe.proc.pid).children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        child.kill()
            self._pipe.proc.kill()
        with contextlib.suppress(OSError):  # it reports that the program was killed
            self._pipe.close()


def _check_open(closed: threading.Event | None) -> None:
    if closed is not None and closed.is_set():
        raise RemoteError("the reader was closed")
