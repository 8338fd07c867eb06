"""Read and write object stores, `s3://`, `gs://`, `az://` and `hf://`, through fsspec: no call waits forever.

Credentials come from the environment of each store's own library (AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS, ...). An
address with credentials is refused, because addresses are printed and stored.
"""

import functools
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from job.system.errors import JobError
from job.system.secrets import brief
from job.system.transfer import RemoteError

LIBRARIES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "hf": "huggingface_hub"}
PERIOD_SECONDS = 60.0  # for one call
LEAST_RATE = 256 << 10  # bytes a second that must be uploaded after that
_WAKE_SECONDS = 0.2  # the longest time to notice that the caller has closed
_CREDENTIALS = ("credential", "authenticat", "account_name")  # in messages of the libraries


def is_object_store(address: str) -> bool:
    """Return whether an address names an object store."""
    return urlparse(address).scheme in LIBRARIES


class ObjectStore:
    """The objects below an address such as s3://BUCKET/PREFIX, by their names relative to it; "" is the address itself.

    Every method raises RemoteError when the store does not answer in time or with an error, or when another thread sets
    `closed`. Safe to use from several threads. Raises JobError when the library of the store is not installed, or when
    the address contains credentials.
    """

    def __init__(self, address: str, closed: threading.Event | None = None) -> None:
        scheme = urlparse(address).scheme
        if "@" in urlparse(address).netloc:
            raise JobError(f"{address}: credentials belong into the environment of the program, not into an address")
        self._files = _open_library(scheme, os.getpid())
        self._base: str = self._files._strip_protocol(address.rstrip("/"))
        self._closed = closed or threading.Event()

    def size(self, name: str = "") -> int:
        """Return the size of an object in bytes."""
        about = self._done("info", self._key(name))
        if about["type"] != "file":
            raise NotThere("it does not exist: it is the name of a folder", permanent=True)
        return int(about["size"])

    def request(self, name: str, start: int, end: int) -> "Future[bytes]":
        """Ask for the bytes [start, end) of an object; `result` waits for them."""
        return self._start("cat_file", self._key(name), start=start, end=end)

    def result(self, request: "Future[bytes]") -> bytes:
        """Return the bytes of a request."""
        return bytes(self._wait(request, PERIOD_SECONDS))

    def read(self, name: str, most: int) -> bytes:
        """Return a small object of at most `most` bytes. Raises NotThere if it does not exist."""
        size = self.size(name)
        if size > most:
            raise RemoteError(f"it is larger than the {most} bytes that were expected", permanent=True)
        return self.result(self.request(name, 0, size)) if size else b""

    def names(self) -> list[str]:
        """Return the names of all objects below the address."""
        base = f"{self._base}/"
        return [key.removeprefix(base) for key in self._done("find", self._base) if key.startswith(base)]

    def upload(self, path: Path, name: str) -> None:
        """Write a file as an object."""
        self._done("put_file", str(path), self._key(name), size=path.stat().st_size)

    def write(self, name: str, content: bytes) -> None:
        """Write an object."""
        self._done("pipe_file", self._key(name), content, size=len(content))

    def delete(self, name: str) -> None:
        """Delete an object; do nothing if it does not exist."""
        with suppress(NotThere):
            self._done("rm_file", self._key(name))

    def _key(self, name: str) -> str:
        return f"{self._base}/{name}" if name else self._base

    def _done(self, method: str, *words: Any, size: int = 0) -> Any:
        return self._wait(self._start(method, *words), PERIOD_SECONDS + size / LEAST_RATE)

    def _start(self, method: str, *words: Any, **options: Any) -> "Future[Any]":
        files = self._files
        if files.async_impl:  # in the thread of fsspec's event loop, where it can be cancelled
            import asyncio  # here: few processes read a store

            return asyncio.run_coroutine_threadsafe(getattr(files, f"_{method}")(*words, **options), files.loop)
        return _in_thread(lambda: getattr(files, method)(*words, **options))

    def _wait(self, future: "Future[Any]", seconds: float) -> Any:
        give_up = time.monotonic() + seconds
        while not wait([future], min(_WAKE_SECONDS, seconds)).done:
            if self._closed.is_set():
                future.cancel()
                raise RemoteError("the reader was closed", permanent=True)
            if time.monotonic() > give_up:
                future.cancel()
                raise RemoteError(f"it stalled: the store did not answer in {seconds:.0f} s")
        try:
            return future.result()
        except FileNotFoundError:
            raise NotThere("it does not exist, or these credentials may not see it", permanent=True) from None
        except Exception as error:  # each library has its own kinds of errors
            raise _in_words(error) from None


class NotThere(RemoteError):
    """Raised for an object that does not exist, or that these credentials may not see."""


def _in_words(error: Exception) -> RemoteError:
    why = brief(error)
    if isinstance(error, PermissionError):
        return RemoteError(f"access denied: {why}", permanent=True)
    if any(word in str(error).lower() for word in _CREDENTIALS):
        return RemoteError(f"{why}: the library of the store finds no usable credentials", permanent=True)
    return RemoteError(why)


@functools.cache
def _open_library(scheme: str, process: int) -> Any:
    """Return fsspec's file system of a scheme: one for each process, because it has a thread."""
    try:
        import fsspec

        # no cache of listings: other processes write to the store
        return fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False)
    except ImportError:
        library = LIBRARIES[scheme]
        raise JobError(
            f"{scheme}:// addresses need {library}: pip install {library}, or install this package with its extra "
            "`remote`"
        ) from None
    except Exception as error:  # such as an unknown account
        raise JobError(f"{scheme}:// cannot be used: {_in_words(error)}") from None


def _in_thread(action: Callable[[], Any]) -> "Future[Any]":
    """Run a call that cannot be cancelled in a thread that does not outlive the process."""
    future: Future[Any] = Future()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(action())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="object-store", daemon=True).start()
    return future
