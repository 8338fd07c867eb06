"""Remote shards through the local cache: the right ones, and complete."""

import threading
from concurrent.futures import CancelledError
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from job.shards.manifest import load_manifest
from job.shards.reading import shard_cache as cache
from job.shards.reading.domain_stream import DomainStream
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.whole_split import read_split
from job.system import transfer
from job.system.errors import JobError


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(transfer, "RETRY_SECONDS", 0.0)


@pytest.fixture
def served(shards):
    """The shards behind an http server: (their URL, the requests made)."""
    requests = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            requests.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(shards)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    server.server_close()


def test_shards_of_one_base_name_are_not_swapped(shards, tmp_path):
    """Cache keys from base names (docs/pitfalls.md): webdataset served target/000000.tar for source/000000.tar."""
    manifest = load_manifest(shards)
    infos = []
    for domain in ("source", "target"):
        info = manifest.shards(domain, "test")[0].model_copy(update={"path": f"{domain}/000000.tar"})
        (shards / info.path).write_bytes((shards / manifest.shards(domain, "test")[0].path).read_bytes())
        infos.append(info)
    store = ShardStore(shards.as_uri(), tmp_path / "cache")
    opened = [store.open(info).read_bytes() for info in infos]
    assert opened == [(shards / info.path).read_bytes() for info in infos]
    assert opened[0] != opened[1]


def test_a_stream_over_http_is_that_of_the_folder(made, served, tmp_path):
    url, requests = served
    manifest = load_manifest(url)
    store = ShardStore(url, tmp_path / "cache")
    settings = {"labelled": True, "seed": 0, "streams": 4, "global_batch_size": 8, "block_shards": 2}
    remote = DomainStream(manifest, "source", store, **settings)
    local = DomainStream(load_manifest(made), "source", ShardStore(made), **settings)
    assert [remote.keys(step) for step in range(20)] == [local.keys(step) for step in range(20)]
    assert sum(len(keys) for _, _, keys in read_split(manifest, store, "target", "test", labelled=True)) == 12
    asked = len(requests)
    list(read_split(manifest, ShardStore(url, tmp_path / "cache"), "target", "test", labelled=True))
    assert len(requests) == asked, "what is cached is not fetched again"
    store.close()


def test_pipes_are_refused_unless_allowed(shards, tmp_path):
    with pytest.raises(JobError, match="would run a shell command"):
        ShardStore(f"pipe:cat {shards}", tmp_path)
    info = load_manifest(shards).shards("source", "val")[0]
    path = ShardStore(f"pipe:cat {shards}", tmp_path, allow_pipe=True).open(info)
    assert path.read_bytes() == (shards / info.path).read_bytes()


def test_a_truncated_or_changed_download_is_an_error_and_is_not_kept(shards, tmp_path):
    infos = load_manifest(shards).shards("source", "val")
    (shards / infos[0].path).write_bytes((shards / infos[0].path).read_bytes()[:-100])
    (shards / infos[1].path).write_bytes(b"\0" * infos[1].bytes)
    (shards / infos[2].path).unlink()
    store = ShardStore(shards.as_uri(), tmp_path / "cache", attempts=2)
    for info in infos[:3]:
        with pytest.raises(JobError, match=rf"cannot fetch .*{info.path}.*2 attempts"):
            store.open(info)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_failure_that_passes_is_tried_again(shards, tmp_path, monkeypatch):
    info = load_manifest(shards).shards("source", "val")[0]
    store = ShardStore(shards.as_uri(), tmp_path / "cache")
    calls = []
    download = store._download

    def flaky(*args):
        calls.append(args)
        if len(calls) < 3:
            raise OSError("connection reset")
        download(*args)

    monkeypatch.setattr(store, "_download", flaky)
    assert store.open(info).stat().st_size == info.bytes


def test_the_cache_stays_below_its_size(shards, tmp_path):
    infos = load_manifest(shards).shards("source", "train")
    store = ShardStore(shards.as_uri(), tmp_path / "cache", max_bytes=3 * infos[0].bytes)
    for info in infos:
        assert store.open(info).stat().st_size == info.bytes
        assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) <= 3 * infos[0].bytes


def test_threads_that_want_one_shard_fetch_it_once(shards, tmp_path, monkeypatch):
    info = load_manifest(shards).shards("source", "val")[0]
    store = ShardStore(shards.as_uri(), tmp_path / "cache")
    calls = []
    download = store._download
    monkeypatch.setattr(store, "_download", lambda *args: (calls.append(args), download(*args)))
    threads = [threading.Thread(target=store.open, args=(info,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_the_next_block_is_fetched_ahead(shards, tmp_path):
    store = ShardStore(shards.as_uri(), tmp_path / "cache")
    infos = load_manifest(shards).shards("source", "train")[:3]
    store.prefetch(infos)
    for future in list(store._fetching.values()):
        future.result()
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_shards_needed_now_are_fetched_before_those_needed_next(shards, tmp_path, monkeypatch):
    store = ShardStore(shards.as_uri(), tmp_path / "cache")
    asked = []
    monkeypatch.setattr(store, "prefetch", lambda infos: asked.extend(info.path for info in infos))
    manifest = load_manifest(shards)
    stream = DomainStream(
        manifest, "source", store, labelled=True, seed=0, streams=4, global_batch_size=8, block_shards=1
    )
    images, labels = np.empty((8, stream.size, stream.size, 3), np.uint8), np.empty(8, np.int64)
    stream.fill(0, images, labels)
    numbers = [shard for s in range(4) for shard in stream._order.block_shards_at(s, 0)[1]]
    needed = {stream._shards.infos[number].path for number in numbers}
    assert set(asked[: len(needed)]) == needed
    assert len(asked) == 2 * len(needed)


@pytest.mark.parametrize("damage", [b"", None])
def test_a_cached_file_that_was_damaged_is_fetched_again(shards, tmp_path, damage):
    """As a power cut may leave it."""
    manifest = load_manifest(shards)
    store = ShardStore(shards.as_uri(), tmp_path / "cache")
    for info in manifest.shards("target", "test"):
        store.open(info).write_bytes(bytes(info.bytes) if damage is None else damage)
    read = read_split(manifest, store, "target", "test", labelled=True)
    assert sum(len(keys) for _, _, keys in read) == manifest.samples("target", "test")


def test_a_cache_that_cannot_be_written_is_read(shards, tmp_path, monkeypatch):
    info = load_manifest(shards).shards("source", "val")[0]
    path = ShardStore(shards.as_uri(), tmp_path / "cache").open(info)
    assert path.stat().st_mode & 0o044 == 0o044, "others may read it"
    monkeypatch.setattr(cache.os, "utime", lambda path, ns: (_ for _ in ()).throw(PermissionError(13, "not yours")))
    monkeypatch.setattr(cache.tempfile, "mkstemp", lambda **_: (_ for _ in ()).throw(OSError(30, "Read-only")))
    store = ShardStore(shards.as_uri(), tmp_path / "cache")
    assert store.open(info) == path
    with pytest.raises(JobError, match=r"cannot write to the cache .* \(Read-only\)"):
        store.open(load_manifest(shards).shards("source", "val")[1])


def test_a_cache_too_small_for_the_ranks_is_reported(shards, tmp_path, monkeypatch):
    """Another rank evicts the shard that this rank has just fetched."""
    manifest = load_manifest(shards)
    store = ShardStore(shards.as_uri(), tmp_path / "cache")
    fetch = store.open

    def open_and_lose(info):
        path = fetch(info)
        path.unlink()
        return path

    monkeypatch.setattr(store, "open", open_and_lose)
    with pytest.raises(JobError, match=r"went out of the cache before it could be read: raise data\.cache_gib"):
        list(read_split(manifest, store, "target", "test", labelled=True))


def test_a_closed_store_cancels_its_downloads(shards, tmp_path, monkeypatch):
    """A stopped run must not wait for prefetched shards."""
    store = ShardStore("https://example.invalid/shards", tmp_path / "cache")
    going = threading.Event()

    def endless(*_):
        going.set()
        return SimpleNamespace(read=lambda _: b"x", close=lambda: None)

    monkeypatch.setattr("webdataset.gopen", endless)
    infos = load_manifest(shards).shards("source", "train")
    store.prefetch(infos)
    futures = list(store._fetching.values())
    assert going.wait(120)
    store.close()
    for future in futures:
        with pytest.raises((JobError, CancelledError)):
            future.result(timeout=120)
    assert list((tmp_path / "cache").iterdir()) == []
