"""A shard that differs from the manifest is never read."""

import gc
import hashlib
import itertools
import logging
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from job.shards.inspection.inspect_shards import inspect_shards
from job.shards.manifest import load_manifest
from job.shards.reading import open_shards, tar_scan
from job.shards.reading.batch_loader import BatchLoader
from job.shards.reading.domain_stream import DomainStream
from job.shards.reading.open_shards import OpenShards
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.whole_split import read_split
from job.system.errors import JobError
from tests.support.manifests import accept_changes, shift_labels

SHARD = "source/train/source-train-000004.tar"
WRONG = r"source-train-000004\.tar: its sha256 is not the manifest's, so it was changed after writing: copy it again"


def stream(manifest, store, domain="source", **settings):
    settings = {"seed": 0, "streams": 4, "global_batch_size": 8, "block_shards": 2, **settings}
    return DomainStream(manifest, domain, store, labelled=domain == "source", **settings)


def a_pass(manifest, store):
    with BatchLoader([stream(manifest, store)], seed=0, stop_step=15) as loader:
        return [batch.labels.clone() for batch in loader]


def evaluate(manifest, store):
    return list(read_split(manifest, store, "source", "train", labelled=True))


def flip_a_bit(path, at=-2000):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("read", [a_pass, evaluate])
@pytest.mark.parametrize("change", [flip_a_bit, lambda path: shift_labels(path, 3)])
def test_a_shard_changed_in_place_is_refused(shards, read, change):
    manifest = load_manifest(shards)
    change(shards / SHARD)
    with pytest.raises(JobError, match=WRONG):
        read(manifest, ShardStore(shards))


@pytest.mark.parametrize("verify", [False, True])
def test_inspection_refuses_it_too(shards, verify):
    flip_a_bit(shards / SHARD)
    with pytest.raises(JobError, match=WRONG):
        inspect_shards(shards, verify=verify)


def test_on_bad_image_skip_does_not_skip_a_changed_shard(shards):
    manifest = load_manifest(shards)
    flip_a_bit(shards / SHARD)
    with (
        pytest.raises(JobError, match=WRONG),
        BatchLoader([stream(manifest, ShardStore(shards), on_bad_image="skip")], seed=0, stop_step=15) as loader,
    ):
        list(loader)


@pytest.fixture
def digests(monkeypatch):
    """Every sha256 that was started while shards were read."""
    begun = []
    counting = SimpleNamespace(sha256=lambda: begun.append(1) or hashlib.sha256())
    monkeypatch.setattr(tar_scan, "hashlib", counting)
    return begun


def test_every_shard_is_hashed_once_in_a_process(made, digests):
    manifest, store = load_manifest(made), ShardStore(made)
    small = OpenShards(manifest, "source", "train", store, labelled=True, capacity=2)
    for _ in range(3):
        for number in range(12):
            small[number].jpeg(0)
            assert len(small.open) <= 2
    evaluate(manifest, store)
    assert len(digests) == 12


def test_only_the_shards_that_a_step_needs_are_opened(made, digests):
    """So that resuming does not read the data set."""
    manifest = load_manifest(made)
    one = stream(manifest, ShardStore(made), streams=2, global_batch_size=2, block_shards=1)
    images, labels = np.empty((2, 16, 16, 3), np.uint8), np.empty(2, np.int64)
    one.fill(1000, images, labels)
    assert len(digests) == 2


def test_nothing_is_hashed_when_that_is_switched_off(shards, digests):
    flip_a_bit(shards / SHARD)
    a_pass(load_manifest(shards), ShardStore(shards, verify=False))
    assert not digests


def test_a_file_that_has_changed_since_is_read_and_hashed_again(shards):
    manifest, store = load_manifest(shards), ShardStore(shards)
    first = OpenShards(manifest, "source", "train", store, labelled=True, capacity=1)
    assert first[4].index.labels.min() >= 0
    assert first[0]
    shift_labels(shards / SHARD, 3)
    with pytest.raises(JobError, match=WRONG):
        first[4]


def test_labels_are_those_of_the_file_that_is_open(shards):
    """Without the check of the sha256, an index kept from before must not go with other bytes."""
    manifest = load_manifest(shards)
    store = ShardStore(shards, verify=False)
    one = OpenShards(manifest, "source", "train", store, labelled=True, capacity=1)
    before = one[4].index.labels.tolist()
    one[0]
    shift_labels(shards / SHARD, 3)
    with pytest.raises(JobError, match="samples of the classes but the manifest says"):
        one[4]
    shift_labels(shards / SHARD, 3)
    shift_labels(shards / SHARD, 3)
    assert one[4].index.labels.tolist() == before


def test_class_counts_that_are_not_those_of_the_shard_are_refused(shards):
    """With the right sum: the manifest alone does not show it. The counts weight the classes of the loss."""
    shift_labels(shards / SHARD, 3)
    counts = load_manifest(shards).shards("source", "train")[4].class_counts
    accept_changes(shards)
    path = shards / "manifest.json"
    right = load_manifest(shards).shards("source", "train")[4].class_counts
    assert sum(right) == sum(counts)
    assert right != counts
    changed = load_manifest(shards).model_dump(mode="json")
    changed["domains"]["source"]["train"][4]["class_counts"] = counts
    path.write_text(type(load_manifest(shards)).model_validate(changed).model_dump_json())
    manifest = load_manifest(shards)
    says = (
        rf"source-train-000004\.tar holds \[{right[0]}, .*\] samples of the classes but the manifest says \[{counts[0]}"
    )
    for read in (a_pass, evaluate):
        with pytest.raises(JobError, match=says):
            read(manifest, ShardStore(shards))
    with pytest.raises(JobError, match=says):
        inspect_shards(shards, verify=True)


def test_a_changed_cached_shard_is_fetched_again_once(shards, tmp_path, caplog):
    manifest = load_manifest(shards)
    store = ShardStore(shards.as_uri(), tmp_path / "cache")
    for info in manifest.shards("source", "train"):
        flip_a_bit(store.open(info))
    with caplog.at_level(logging.WARNING):
        labels = a_pass(manifest, store)
    assert sum(map(len, labels)) == 15 * 8
    assert caplog.text.count("fetching it again") == 12
    assert f"the cached copy of {SHARD} is damaged or was changed" in caplog.text


def test_a_cached_shard_that_is_wrong_after_that_is_refused(shards, tmp_path, monkeypatch):
    """As on a disk that returns other bytes than were written."""
    manifest = load_manifest(shards)
    store = ShardStore(shards.as_uri(), tmp_path / "cache")
    fetched = []

    def fetch(info, path):
        fetched.append(info.path)
        shutil.copy(shards / info.path, path)
        flip_a_bit(path)

    monkeypatch.setattr(store, "_download", fetch)
    with pytest.raises(JobError, match="its sha256 is not the manifest's"):
        evaluate(manifest, store)
    assert max(fetched.count(path) for path in fetched) == 2


def test_using_a_cached_file_does_not_make_it_another_one(shards, tmp_path, digests):
    manifest = load_manifest(shards)
    store = ShardStore(shards.as_uri(), tmp_path / "cache")
    one = OpenShards(manifest, "source", "train", store, labelled=True, capacity=1)
    for _ in range(3):
        one[0], one[1]
    assert len(digests) == 2


def test_a_shard_cut_short_while_it_is_open_is_an_error(shards):
    """A memory map would end the process by SIGBUS."""
    manifest = load_manifest(shards)
    store = ShardStore(shards)
    one = OpenShards(manifest, "source", "train", store, labelled=True, capacity=4)
    shard = one[4]
    whole = shard.jpeg(0)
    os.truncate(shards / SHARD, 512)
    for read in (shard.jpeg, shard.key):
        with pytest.raises(JobError, match=r"source-train-000004\.tar was cut short while it was being read: copy it"):
            read(0)
    assert len(whole) > 512


def test_training_on_a_shard_that_is_cut_short_ends_in_an_error(shards):
    manifest = load_manifest(shards)
    with BatchLoader([stream(manifest, ShardStore(shards), on_bad_image="skip")], seed=0) as loader:
        for _ in range(16):  # a pass: every shard is open
            next(loader)
        os.truncate(shards / SHARD, 512)
        with pytest.raises(JobError, match=r"source-train-000004\.tar was cut short"):
            list(itertools.islice(loader, 20))


def test_a_shard_that_is_removed_stays_readable_until_it_is_closed(shards):
    manifest = load_manifest(shards)
    one = OpenShards(manifest, "source", "train", ShardStore(shards), labelled=True, capacity=1)
    shard = one[4]
    (shards / SHARD).unlink()
    assert shard.jpeg(0)
    one[0]
    with pytest.raises(JobError, match=r"source-train-000004\.tar is missing .*: copy it again"):
        one[4]


def test_a_disk_that_fails_is_named(shards, monkeypatch):
    manifest = load_manifest(shards)
    shard = OpenShards(manifest, "source", "train", ShardStore(shards), labelled=True, capacity=1)[4]

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(JobError, match=r"cannot read shard .*000004\.tar \(Input/output error\): check the disk"):
        shard.jpeg(0)


@pytest.mark.parametrize("kind", ["FIFO", "folder", "device"])
def test_a_shard_that_is_not_a_file_is_refused_at_once(shards, kind):
    path = shards / SHARD
    path.unlink()
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(JobError, match=r"000004\.tar is not a regular file: copy it again"):
        load_manifest(shards)
    manifest = load_manifest(shards, check_files=False)
    with pytest.raises(JobError, match=r"000004\.tar is not a regular file: copy it again"):
        evaluate(manifest, ShardStore(shards))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_anything_but_a_file_in_the_cache_is_replaced_or_reported(shards, tmp_path, make):
    manifest = load_manifest(shards)
    store = ShardStore(shards.as_uri(), tmp_path / "cache")
    path = store.open(manifest.shards("source", "train")[4])
    path.unlink()
    make(path)
    if make is os.mkfifo:
        assert sum(len(keys) for _, _, keys in evaluate(manifest, store)) == 60
    else:
        with pytest.raises(JobError, match="is not a regular file"):
            evaluate(manifest, store)


def test_few_open_files_are_enough(made, monkeypatch):
    """The limit is met in the middle: shards are closed to make room for others."""
    manifest = load_manifest(made)
    one = OpenShards(manifest, "source", "train", ShardStore(made), labelled=True, capacity=12)
    refused = []
    real = open_shards.open_file

    def open_file(path, info):
        if len(one.open) >= 3:
            refused.append(path)
            raise OSError(24, "Too many open files")
        return real(path, info)

    monkeypatch.setattr(open_shards, "open_file", open_file)
    for number in [*range(12)] * 2:
        assert one[number].jpeg(0)
    assert refused


def test_descriptors_are_closed(made):
    def opened():  # of these shards: objects of other tests may be collected, with their files, meanwhile
        links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
        return [link for link in links if os.path.exists(link) and os.readlink(link).startswith(str(made))]

    manifest = load_manifest(made)
    gc.collect()
    before = len(opened())
    a_pass(manifest, ShardStore(made))
    assert len(opened()) == before


def test_threads_that_need_the_same_shards_open_different_ones(made, monkeypatch):
    """A resumed run has to hash a block for every stream: that must not take one thread while the others wait."""
    manifest = load_manifest(made)
    one = OpenShards(manifest, "source", "train", ShardStore(made), labelled=True, capacity=12)
    at_once = threading.Barrier(3, timeout=120)
    begun = []

    def read_index(file, info, *args, real=open_shards.read_index, **settings):
        begun.append(info.path)
        if len(begun) <= 3:
            at_once.wait()
        return real(file, info, *args, **settings)

    monkeypatch.setattr(open_shards, "read_index", read_index)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(one.open_all, [range(12)] * 3))
    assert sorted(begun) == sorted(info.path for info in one.infos), "and each once"


def test_more_shards_than_may_be_open_are_not_opened_ahead(made):
    one = OpenShards(load_manifest(made), "source", "train", ShardStore(made), labelled=True, capacity=3)
    one.open_all(range(12))
    assert not one.open
    one.open_all(range(3))
    assert sorted(one.open) == [0, 1, 2]
