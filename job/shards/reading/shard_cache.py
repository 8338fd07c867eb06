"""Provide the local path of a shard: its own path, or that of a copy in a local cache of remote shards.

The name of a cached file is the sha256 of its whole URL and then its base name, because base names repeat
(docs/pitfalls.md). A file gets that name only when its size and sha256 are the manifest's, so ranks of one node may
share the folder without locks: at worst two of them fetch the same shard.
"""

import contextlib
import hashlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from io import RawIOBase
from pathlib import Path

from job.shards.manifest import ShardInfo, check_url, is_remote
from job.shards.reading.shard_file import Identity
from job.shards.remote import read_remote, url_of
from job.system.errors import JobError
from job.system.files import fsync_file, writing
from job.system.transfer import ATTEMPTS, RemoteError, with_retries

CACHE = "~/.cache/job/shards"
_STALE_SECONDS = 24 * 3600.0  # a partial file of this age was left by a killed process

log = logging.getLogger(__name__)


class ShardStore:
    """Provides the local path of each shard below `base`, a folder or a URL.

    Remote shards are kept in `cache_dir` (default: CACHE), at most `max_bytes` of them if that is given: the least
    recently used are deleted first. With `verify`, a shard's sha256 is checked when it is first opened: the store
    records the checked files, for all its readers. Safe to use from several threads.
    """

    def __init__(
        self,
        base: str | Path,
        cache_dir: str | Path | None = None,
        allow_pipe: bool = False,
        *,
        max_bytes: int | None = None,
        attempts: int = ATTEMPTS,
        verify: bool = True,
    ):
        self.base = str(base).removesuffix("/manifest.json").rstrip("/")
        self.remote = is_remote(self.base)
        self._verify = verify
        self._verified: dict[str, Identity] = {}  # by the path in the manifest: the file that was checked
        self._attempts = attempts
        self._max_bytes = max_bytes
        if not self.remote:
            return
        check_url(self.base, allow_pipe)
        self._folder = Path(cache_dir or CACHE).expanduser()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JobError(f"cannot make the cache {self._folder} ({error.strerror}): set data.cache_dir") from None
        self._remove_stale()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._fetching: dict[Path, Future[None]] = {}
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="shard-fetch")

    def open(self, info: ShardInfo) -> Path:
        """Return the local path of a shard; fetch it if necessary. Raises JobError when it cannot be fetched whole."""
        if not self.remote:
            return Path(self.base, info.path)
        path = self._cached_path(info)
        future = None if self._use(path) else self._fetch_once(info, path)
        if future is not None:
            future.result()
        return path

    def prefetch(self, infos: Iterable[ShardInfo]) -> None:
        """Start to fetch shards in the background. Does nothing for local ones."""
        if self.remote:
            for info in infos:
                path = self._cached_path(info)
                if not self._use(path):
                    self._fetch_once(info, path)

    def is_verified(self, info: ShardInfo, identity: Identity) -> bool:
        """Return whether a shard's sha256 need not be checked: this very file was checked, or checks are off."""
        return not self._verify or self._verified.get(info.path) == identity

    def mark_verified(self, info: ShardInfo, identity: Identity) -> None:
        """Record that a file's sha256 is the manifest's."""
        self._verified[info.path] = identity

    def discard(self, info: ShardInfo) -> None:
        """Delete the cached copy of a remote shard, so that the next use fetches it again."""
        with contextlib.suppress(OSError):  # the file may belong to another user
            self._cached_path(info).unlink(missing_ok=True)

    def close(self) -> None:
        """Cancel all downloads. Can be called twice."""
        if self.remote:
            self._closed.set()
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _cached_path(self, info: ShardInfo) -> Path:
        name = Path(info.path).name
        # the key includes the content: the shard at a URL may be replaced while ranks still read the old one
        key = hashlib.sha256(f"{self.base}/{info.path}\n{info.sha256}".encode()).hexdigest()
        return self._folder / f"{key[:32]}-{name}"

    def _use(self, path: Path) -> bool:
        """Return whether the file exists, and record its use if permissions allow.

        The use is recorded as the time of the last access; the time of the last change must stay, because it shows
        whether a verified file is unchanged.
        """
        with contextlib.suppress(OSError):
            os.utime(path, ns=(time.time_ns(), os.stat(path).st_mtime_ns))
            return True
        return path.is_file()

    def _fetch_once(self, info: ShardInfo, path: Path) -> Future[None]:
        with self._lock:
            future = self._fetching.get(path)
            if future is None:
                future = self._fetching[path] = self._pool.submit(self._fetch, info, path)
            return future

    def _fetch(self, info: ShardInfo, path: Path) -> None:
        try:
            if self._use(path):  # another rank has fetched it meanwhile
                return
            place = f"{self.base}/{info.path}"
            try:
                with_retries(
                    lambda: self._download(info, path), f"fetching {place}", self._attempts, closed=self._closed
                )
            except RemoteError as error:
                if self._closed.is_set():
                    raise JobError(f"gave up fetching {info.path}: the reader was closed") from None
                raise JobError(
                    f"cannot fetch {place} ({error}): check the address and the network, then start again"
                ) from error
            self._evict(keep=path)
        finally:
            with self._lock:
                self._fetching.pop(path, None)

    def _download(self, info: ShardInfo, path: Path) -> None:
        """Fetch a shard, without retry. Raises RemoteError or OSError when that fails, JobError for a full disk."""
        digest, size = hashlib.sha256(), 0
        with self._writing():
            descriptor, partial = tempfile.mkstemp(prefix="partial-", suffix=path.name[-40:], dir=self._folder)
        try:
            # Unbuffered: closing would write the rest of a buffer, and a full disk there would look like a bad address.
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                for chunk in read_remote(url_of(self.base, info.path), info.bytes, self._closed):
                    digest.update(chunk)
                    size += len(chunk)
                    with self._writing():
                        _write_all(file, chunk)
                if (size, digest.hexdigest()) != (info.bytes, info.sha256):
                    raise RemoteError(
                        f"{size} bytes came, whose sha256 is not the manifest's; {info.bytes} bytes expected"
                    )
                with self._writing():
                    os.fchmod(descriptor, 0o644)  # others may share the cache
                    fsync_file(file)
                    os.replace(partial, path)
        finally:
            Path(partial).unlink(missing_ok=True)

    def _writing(self) -> contextlib.AbstractContextManager[None]:
        return writing(f"to the cache {self._folder}", "make room, or set data.cache_gib or another data.cache_dir")

    def _evict(self, keep: Path) -> None:
        """Delete the least recently used files until the rest fits. A shard that is open stays readable."""
        if self._max_bytes is None:
            return
        files = []
        for path in self._folder.glob("[0-9a-f]*.tar"):
            with contextlib.suppress(OSError):  # another rank may have deleted it
                status = path.stat()
                files.append((status.st_atime_ns, status.st_size, path))
        excess = sum(size for _, size, _ in files) - self._max_bytes
        for _, size, path in sorted(files):
            if excess <= 0:
                return
            if path != keep:
                path.unlink(missing_ok=True)
                excess -= size

    def _remove_stale(self) -> None:
        for path in self._folder.glob("partial-*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()


def _write_all(file: RawIOBase, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
