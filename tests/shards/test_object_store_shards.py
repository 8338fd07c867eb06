"""Shards in an object store: the same batches as from a folder, whatever the server does."""

import threading

import pytest

from job.shards import remote
from job.shards.inspection.inspect_shards import inspect_shards
from job.shards.manifest import load_manifest
from job.shards.reading.domain_stream import DomainStream
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.whole_split import read_split
from job.shards.remote import read_remote
from job.system import object_store, transfer
from job.system.errors import JobError
from job.system.object_store import ObjectStore
from job.system.transfer import RemoteError
from tests.support.s3_server import SECRET, failing, put_folder


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(transfer, "RETRY_SECONDS", 0.0)


@pytest.fixture(scope="module")
def stored(made, s3_server):
    """The address of the shards in the store."""
    put_folder(made, f"{s3_server.bucket}/shards")
    return f"{s3_server.bucket}/shards"


def test_a_stream_from_a_store_is_that_of_the_folder(made, stored, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "_PIECE", 8192)  # a shard has several
    manifest = load_manifest(stored)
    assert manifest.hash == load_manifest(made).hash
    store = ShardStore(stored, tmp_path / "cache")
    settings = {"labelled": True, "seed": 0, "streams": 4, "global_batch_size": 8, "block_shards": 2}
    stream = DomainStream(manifest, "source", store, **settings)
    local = DomainStream(load_manifest(made), "source", ShardStore(made), **settings)
    assert [stream.keys(step) for step in (13, 2, 19)] == [local.keys(step) for step in (13, 2, 19)]
    from_store = list(read_split(manifest, store, "target", "test", labelled=True))
    from_folder = list(read_split(manifest, ShardStore(made), "target", "test", labelled=True))
    assert all((a[0] == b[0]).all() and a[2] == b[2] for a, b in zip(from_store, from_folder, strict=True))
    store.close()


def test_only_the_shards_that_a_step_needs_are_fetched_and_once(made, stored, s3, tmp_path):
    manifest = load_manifest(stored)
    info = manifest.shards("source", "train")[0]
    for _ in range(2):
        assert ShardStore(stored, tmp_path / "cache").open(info).read_bytes() == (made / info.path).read_bytes()
    assert sum(request.startswith("GET") and ".tar" in request for request in s3.requests) == 1


@pytest.mark.parametrize("fault", ["error", "cut", "wrong"])
def test_faults_that_pass_are_retried(made, stored, s3, tmp_path, fault):
    info = load_manifest(stored).shards("source", "val")[0]
    s3.fault = failing("GET", ".tar", fault, times=1)
    store = ShardStore(stored, tmp_path / "cache")
    assert store.open(info).read_bytes() == (made / info.path).read_bytes()


def test_a_silent_store_is_an_error_in_time(stored, s3, tmp_path, monkeypatch):
    info = load_manifest(stored).shards("source", "val")[0]
    s3.fault = failing("GET", ".tar", "held")
    monkeypatch.setattr(object_store, "PERIOD_SECONDS", 0.3)
    says = "it stalled: the store did not answer in 0 s; 2 attempts"
    with pytest.raises(JobError, match=rf"cannot fetch {stored}/{info.path} \({says}\)"):
        ShardStore(stored, tmp_path / "cache", attempts=2).open(info)
    assert list((tmp_path / "cache").iterdir()) == []


def test_closing_does_not_wait_for_a_silent_store(stored, s3, tmp_path, monkeypatch):
    monkeypatch.setattr(object_store, "PERIOD_SECONDS", 1000)
    info = load_manifest(stored).shards("source", "val")[0]
    asked = threading.Event()
    s3.fault = lambda environ: asked.set() or "held" if environ["REQUEST_METHOD"] == "GET" else None
    store = ShardStore(stored, tmp_path / "cache")
    store.prefetch([info])
    (future,) = store._fetching.values()
    assert asked.wait(120)
    store.close()
    with pytest.raises(JobError, match="the reader was closed"):
        future.result(timeout=120)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content[:-1] + b"x", "whose sha256 is not the manifest's; .*; 2 attempts"),
        (lambda content: content[:-512], "bytes came, whose sha256 .*; 2 attempts"),
        (lambda content: content + b"more", "it is larger than the .* bytes that were expected; 2 attempts"),
    ],
    ids=["changed", "cut short", "longer"],
)
def test_another_object_under_the_name_of_a_shard_is_not_used(made, stored, s3, tmp_path, change, says):
    info = load_manifest(made).shards("source", "val")[0]
    content = (made / info.path).read_bytes()
    ObjectStore(s3.bucket).write(f"shards/{info.path}", change(content))
    try:
        with pytest.raises(JobError, match=says):
            ShardStore(stored, tmp_path / "cache", attempts=2).open(info)
        assert list((tmp_path / "cache").iterdir()) == []
    finally:
        ObjectStore(s3.bucket).write(f"shards/{info.path}", content)


def test_an_error_of_the_manifest_is_retried(made, stored, s3):
    s3.fault = failing("GET", "manifest.json", "cut", times=1)
    assert load_manifest(stored).hash == load_manifest(made).hash


def test_mistakes_are_reported_at_once_and_in_words(stored, s3, monkeypatch):
    with pytest.raises(
        JobError, match=r"cannot read s3://\S+/nowhere/manifest.json \(it does not exist.*; 1 attempt\)"
    ):
        load_manifest(f"{s3.bucket}/nowhere")
    with pytest.raises(JobError, match="credentials belong into the environment") as caught:
        load_manifest(f"s3://someone:{SECRET}@bucket/shards")
    assert SECRET not in str(caught.value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    object_store._open_library.cache_clear()
    with pytest.raises(JobError, match="finds no usable credentials; 1 attempt"):
        load_manifest(stored)
    object_store._open_library.cache_clear()


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    def absent(*_, **__):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr("fsspec.filesystem", absent)
    with pytest.raises(JobError, match=r"gs:// addresses need gcsfs: pip install gcsfs, or .* extra `remote`"):
        load_manifest("gs://bucket/shards")


def test_inspect_reads_a_store(stored, s3, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "source" in inspect_shards(stored, verify=False)


def test_shards_are_written_to_a_folder(job):
    code, _, message = job("shards", "faces", "--out", "s3://bucket/shards")
    assert code == 2
    assert message.startswith("error: --out: s3:/bucket/shards is not a folder: write to one, then copy it")


def test_a_library_without_asynchronous_calls_is_read_too(monkeypatch):
    """As that of hf:// is."""
    monkeypatch.setitem(object_store.LIBRARIES, "memory", "fsspec")
    store = ObjectStore("memory://box/folder")
    store.write("a", b"content")
    assert b"".join(read_remote("memory://box/folder/a", 100)) == b"content"
    assert store.names() == ["a"]
    store.delete("a")
    store.delete("a")
    with pytest.raises(RemoteError, match="it does not exist"):
        store.size("a")
