"""Shards of any tar writer are read, and damage is never mistaken for the end."""

import io
import tarfile

import pytest

from job.shards.manifest import ShardInfo
from job.shards.reading.tar_index import member_names, open_shard
from job.system.errors import JobError


def write(path, names, tar_format=tarfile.USTAR_FORMAT, label=b"1"):
    with tarfile.open(path, "w", format=tar_format) as tar:
        for name in names:
            content = label if name.endswith(".cls") else b"picture of " + name.encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    images = sum(name.endswith((".jpg", ".jpeg")) for name in names)
    return ShardInfo(path=path.name, samples=images, bytes=path.stat().st_size, sha256="0" * 64, labelled=True)


NAMES = ["a1.cls", "a1.jpg", "a1.json", "b2.jpg", "b2.cls", "./c3.jpeg", "./c3.cls"]


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("folder", ["", "a folder/", "f" * 120 + "/"], ids=["plain", "folder", "long"])
def test_every_kind_of_tar_is_read(tmp_path, tar_format, folder):
    names = [folder + name.removeprefix("./") for name in NAMES]
    shard = open_shard(tmp_path / "x.tar", write(tmp_path / "x.tar", names, tar_format), classes=3)
    assert [shard.key(i) for i in range(3)] == [folder + key for key in ("a1", "b2", "c3")]
    assert bytes(shard.jpeg(1)) == b"picture of " + names[3].encode()
    assert shard.index.labels.tolist() == [1, 1, 1]
    assert member_names(shard) == names


def test_labels_are_read_only_if_requested(tmp_path):
    info = write(tmp_path / "x.tar", NAMES, label=b"not a number")
    assert open_shard(tmp_path / "x.tar", info, classes=None).index.labels.tolist() == [-1, -1, -1]
    with pytest.raises(JobError, match="label of a1"):
        open_shard(tmp_path / "x.tar", info, classes=3)


@pytest.mark.parametrize(("label", "says"), [(b"3", "below 3"), (b"-1", "below 3"), (b"", "below 3")])
def test_a_label_must_be_a_class(tmp_path, label, says):
    info = write(tmp_path / "x.tar", NAMES, label=label)
    with pytest.raises(JobError, match=says):
        open_shard(tmp_path / "x.tar", info, classes=3)


def test_an_image_without_a_label_is_named(tmp_path):
    info = write(tmp_path / "x.tar", ["a.jpg", "b.jpg", "b.cls"])
    with pytest.raises(JobError, match=r"x\.tar: a has no label"):
        open_shard(tmp_path / "x.tar", info, classes=3)


def test_a_shard_may_contain_as_many_unlabelled_images_as_the_manifest_says(tmp_path):
    info = write(tmp_path / "x.tar", ["a.jpg", "b.jpg", "b.cls", "c.jpg"])
    one = info.model_copy(update={"class_counts": (0, 1, 0)})
    assert open_shard(tmp_path / "x.tar", one, classes=3).index.labels.tolist() == [-1, 1, -1]
    for counts in ((0, 2, 0), (0, 0, 0)):
        with pytest.raises(JobError, match=rf"holds \[0, 1, 0\] .* the manifest says \[0, {sum(counts)}, 0\]: copy"):
            open_shard(tmp_path / "x.tar", info.model_copy(update={"class_counts": counts}), classes=3)


def test_a_shard_cut_short_is_an_error(tmp_path):
    """Truncated tars (docs/pitfalls.md): webdataset ends silently, even when told to raise."""
    path = tmp_path / "x.tar"
    info = write(path, NAMES)
    whole = path.read_bytes()
    for kept in (0, 100, 512, 700, 1536, 3000):
        path.write_bytes(whole[:kept])
        with pytest.raises(JobError, match=r"x\.tar has \d+ bytes but the manifest says"):
            open_shard(path, info, classes=None)
        if kept:  # and when the manifest was made of the cut file
            with pytest.raises(JobError, match=r"x\.tar"):
                open_shard(path, info.model_copy(update={"bytes": kept}), classes=None)


def test_a_damaged_header_is_an_error(tmp_path):
    path = tmp_path / "x.tar"
    info = write(path, NAMES)
    content = bytearray(path.read_bytes())
    content[1024 + 257 : 1024 + 262] = b"xxxxx"  # the second header
    path.write_bytes(content)
    with pytest.raises(JobError, match=r"x\.tar"):
        open_shard(path, info, classes=None)


def test_bytes_that_look_like_a_header_are_not_one(tmp_path):
    path = tmp_path / "x.tar"
    trap = bytearray(2048)
    trap[512 + 257 : 512 + 262] = b"ustar"
    with tarfile.open(path, "w") as tar:
        for name in ("a.jpg", "b.jpg"):
            member = tarfile.TarInfo(name)
            member.size = len(trap)
            tar.addfile(member, io.BytesIO(trap))
    info = ShardInfo(path="x.tar", samples=2, bytes=path.stat().st_size, sha256="0" * 64, labelled=True)
    shard = open_shard(path, info, classes=None)
    assert [shard.key(0), shard.key(1)] == ["a", "b"]


def test_an_open_shard_outlives_its_file(tmp_path):
    info = write(tmp_path / "x.tar", NAMES)
    shard = open_shard(tmp_path / "x.tar", info, classes=None)
    (tmp_path / "x.tar").unlink()
    assert bytes(shard.jpeg(0)) == b"picture of a1.jpg"
