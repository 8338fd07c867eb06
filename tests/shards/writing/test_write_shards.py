"""The shards depend only on the input, the seed and the settings."""

import json
import os
import tarfile

import pytest

from job.datasets import find_layout
from job.shards.manifest import load_manifest
from job.shards.reading.tar_index import member_names, open_shard
from job.shards.writing.shard_plan import limited_ranks
from job.shards.writing.write_shards import write_shards
from job.system.errors import JobError
from tests.support import toy_layout
from tests.support.datasets import contents
from tests.support.toy_shards import make


def test_any_number_of_workers_writes_the_same_bytes(made, tmp_path):
    make(tmp_path / "two", workers=2)
    assert contents(tmp_path / "two") == contents(made)


def test_interrupted_and_run_again_gives_the_same_bytes(made, shards, monkeypatch):
    whole = contents(made)
    out = shards.parent / "again"
    written = 0

    def read_some(record, size):
        nonlocal written
        written += 1
        if written > 40:
            raise KeyboardInterrupt
        return read(record, size)

    read = toy_layout.LAYOUT.read
    monkeypatch.setattr(toy_layout, "LAYOUT", _with_read(read_some))
    with pytest.raises(KeyboardInterrupt):
        make(out)
    assert not (out / "manifest.json").exists()
    with pytest.raises(JobError, match="is unfinished: run the shards command again"):
        load_manifest(out)

    finished = sorted((out / "source/train").glob("*.tar"))
    assert len(finished) == 8
    finished[0].write_bytes(b"changed behind our back")
    (out / "source/train" / "source-train-000077.tar").write_bytes(b"left by a run with more shards")
    (out / "source/train" / "source-train-000003.tar.1234.partial").write_bytes(b"left by a kill")
    written = -1000
    make(out)
    assert contents(out) == whole
    assert written == -1000 + sum(map(len, _keys(out))) - 7 * 5, "finished shards are kept"

    (out / "manifest.json.host.1234.partial").write_bytes(b"left by a kill while it was written")
    (out / ".unfinished").mkdir()
    (out / ".unfinished" / "images-000000.jpegs").write_bytes(b"left by a kill after the manifest was written")
    make(out)
    assert contents(out) == whole


def test_two_commands_do_not_write_one_folder(tmp_path, monkeypatch):
    """The second would delete intermediate files of the first."""
    out = tmp_path / "out"

    def read_some(record, size):
        with pytest.raises(JobError, match=rf"out is being written by process {os.getpid()} on .*: wait for it"):
            make(out)
        return read(record, size)

    read = toy_layout.LAYOUT.read
    with monkeypatch.context() as patched:
        patched.setattr(toy_layout, "LAYOUT", _with_read(read_some))
        make(out)
    make(out)


def _with_read(read):
    from dataclasses import replace

    return replace(toy_layout.LAYOUT, read=read)


def _keys(out):
    manifest = load_manifest(out)
    for splits in manifest.domains.values():
        for infos in splits.values():
            for info in infos:
                shard = open_shard(out / info.path, info, None)
                yield [shard.key(i) for i in range(info.samples)]


def test_a_finished_folder_is_not_changed(shards):
    before = {path: path.stat().st_mtime_ns for path in shards.rglob("*")}
    assert make(shards) == load_manifest(shards)
    assert {path: path.stat().st_mtime_ns for path in shards.rglob("*")} == before
    others = ({"seed": 1}, {"quality": 90}, {"shards": 6}, {"options": {"train": 30}}, {"keep_target_labels": True})
    for other in others:
        with pytest.raises(JobError, match="already contains other shards"):
            make(shards, **other)


def test_unlabelled_shards_say_nothing_about_labels(made):
    """Labels leak (docs/pitfalls.md): no .cls, no class counts, no path that spells the class, no order by class."""
    held = json.loads((made / "manifest.json").read_text())["domains"]["target"]
    for split in ("train", "val"):
        for info in held[split]:
            assert info["labelled"] is False
            assert info["class_counts"] is None
            with tarfile.open(made / info["path"]) as tar:
                for member in tar.getmembers():
                    assert member.name.endswith((".jpg", ".json"))
                    if member.name.endswith(".json"):
                        about = json.load(tar.extractfile(member))
                        assert set(about) == {"domain", "subject", "source"}
                        assert "joy" not in about["source"]
    assert all(info["labelled"] and sum(info["class_counts"]) == info["samples"] for info in held["test"])


def test_target_labels_are_kept_on_demand(made, made_with_target_labels):
    kept, held = load_manifest(made_with_target_labels), load_manifest(made)
    assert kept.labelled("target", "train")
    assert kept.class_counts("target", "train") == (20, 20, 20)
    assert not held.labelled("target", "train")
    assert kept.hash != held.hash


def test_shards_are_equal_and_keys_unique(made):
    manifest = load_manifest(made)
    for domain in ("source", "target"):
        assert [info.samples for info in manifest.shards(domain, "train")] == [5] * 12
        assert sorted(info.samples for info in manifest.shards(domain, "val")) == [2, 2, 2, 3]
        assert manifest.samples(domain, "test") == 12
    keys = [key for group in _keys(made) for key in group]
    assert len(set(keys)) == len(keys) == 2 * 81
    assert all(key.startswith(("source-", "target-")) for key in keys)


def test_any_webdataset_reader_reads_them(made):
    import webdataset

    path = made / "source/train/source-train-000000.tar"
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False).decode("rgb8"))
    assert [sample["jpg"].shape for sample in samples] == [(16, 16, 3)] * 5
    assert {sample["json"]["domain"] for sample in samples} == {"source"}
    assert sum(sample["cls"] == label for sample in samples for label in range(3)) == 5


def test_tars_have_no_owner_and_no_date(made):
    with tarfile.open(made / "source/train/source-train-000000.tar") as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in tar} == {(0, 0, 0, "", "")}
    manifest = load_manifest(made)
    member_names(open_shard(made / manifest.shards("source", "val")[0].path, manifest.shards("source", "val")[0], 3))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_image_that_cannot_be_read_is_named(tmp_path, workers):
    with pytest.raises(JobError, match=r"cannot read photos/bad\.png \(OSError: broken file\)") as caught:
        write_shards(toy_layout.BROKEN, None, tmp_path / "out", workers=workers, shards=4, progress=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"shards": 61}, "--shards 61 is more than the 60 images of source/train"),
        ({"size": 4}, "--size 4 must be between"),
        ({"quality": 101}, "--quality 101"),
        ({"workers": 0}, "--workers 0"),
        ({"options": {"trian": 5}}, "no option 'trian': did you mean train"),
    ],
)
def test_mistakes_are_refused_in_one_line(tmp_path, settings, says):
    with pytest.raises(JobError, match=says):
        make(tmp_path / "out", **settings)


def test_a_subject_in_two_splits_is_refused(tmp_path):
    from dataclasses import replace

    def leaky(root, seed, **options):
        return [r._replace(subject="the same man") for r in toy_layout.records(root, seed)]

    with pytest.raises(JobError, match="subject the same man of the source is in val and in train"):
        write_shards(replace(toy_layout.LAYOUT, records=leaky), None, tmp_path / "out", workers=1)


def test_an_unknown_layout_names_the_nearest():
    with pytest.raises(JobError, match="did you mean mnist-m"):
        find_layout("mnistm")
    with pytest.raises(JobError, match="choose one of faces, mnist-m"):
        find_layout("zzz")


def test_a_full_disk_is_one_line_and_finished_shards_are_kept(tmp_path, monkeypatch):
    import errno

    from job.shards.writing import write_shard

    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write_shard, "fsync_file", full)
    with pytest.raises(JobError, match=r"No space left on device.*finished shards are kept"):
        make(tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_few_training_shards_are_told_with_the_ranks_that_they_allow(made):
    few = "source/train has 12 shard(s): up to 12 rank(s) can train on them; --shards 60 or more would allow more"
    assert limited_ranks(load_manifest(made)) == [few]
