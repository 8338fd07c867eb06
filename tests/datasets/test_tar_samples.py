"""Odd members of foreign tars are resolved, counted, skipped by name or refused; none is dropped unnoticed."""

import io
import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from job.datasets.image_bytes import fetch
from job.datasets.image_search import Notes
from job.datasets.tar_samples import read_samples
from job.system.errors import JobError
from tests.support import trees
from tests.support.datasets import build, samples
from tests.support.trees import EMOTIONS


def png(number: int) -> bytes:
    content = io.BytesIO()
    trees.picture(number).save(content, "PNG")
    return content.getvalue()


def add(tar: tarfile.TarFile, name: str, content: bytes = b"", **about) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in about.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(content) if content else None)


def tar_of(path: Path, members: list[tuple], **settings) -> Path:
    with tarfile.open(path, "w", **settings) as tar:
        for name, content, *about in members:
            add(tar, name, content, **(about[0] if about else {}))
    return path


def read(path: Path, **options):
    """Samples as {name: (image bytes, text of .cls)}, and the notes."""
    notes = Notes()
    found = list(read_samples(str(path), "x.tar", notes, **options))
    assert len({sample.name for sample in found}) == len(found)
    return {s.name: (fetch((str(path), *s.image)), s.cls and s.cls.decode()) for s in found}, notes


SYM, HARD = {"type": tarfile.SYMTYPE}, {"type": tarfile.LNKTYPE}


def test_a_mask_beside_the_image_is_refused_without_the_option(tmp_path):
    members = [("a.jpg", png(1)), ("a.png", png(2)), ("a.cls", b"joy")]
    path = tar_of(tmp_path / "x.tar", members)
    with pytest.raises(JobError, match=r"x\.tar: a has 2 images, \.jpg, \.png: select one.* --option image=jpg"):
        read(path)
    for ending, number in (("jpg", 1), ("png", 2), (".PNG", 2)):
        found, notes = read(path, image=ending)
        assert found == {"x.tar/a": (png(number), "joy")}
        other = {"jpg": "png", "png": "jpg", ".PNG": "jpg"}[ending]
        assert notes.left_out == {f"images beside the sample's own, .{other}": 1}
    found, notes = read(path, image="webp")
    assert not found
    assert notes.left_out["samples without an image .webp"] == 1


def test_the_option_on_a_whole_data_set(tmp_path):
    trees.tars(tmp_path / "tars", jpg=png(999), cls=b"joy")
    with pytest.raises(JobError, match=r"--option image="):
        build("webdataset", tmp_path / "tars", tmp_path / "out")
    manifest = build("webdataset", tmp_path / "tars", tmp_path / "out", options={"image": "png"})
    assert manifest.left_out == {"images beside the sample's own, .jpg": 84}
    assert len({sample["image"].tobytes() for sample in samples(tmp_path / "out")}) == 84, "84 pictures, not one mask"


def test_compound_endings_are_images_beside_the_sample_s_own(tmp_path):
    found, notes = read(tar_of(tmp_path / "x.tar", [("a.jpg", png(1)), ("a.seg.png", png(2)), ("a.cls", b"joy")]))
    assert found == {"x.tar/a": (png(1), "joy")}
    assert notes.left_out == {"images beside the sample's own, .seg.png": 1}
    path = tar_of(tmp_path / "y.tar", [("a.left.jpg", png(1)), ("a.right.jpg", png(2)), ("a.cls", b"joy")])
    with pytest.raises(JobError, match=r"a has 2 images, \.left\.jpg, \.right\.jpg"):
        read(path)
    assert read(path, image="right.jpg")[0] == {"x.tar/a": (png(2), "joy")}
    assert read(tar_of(tmp_path / "z.tar", [("a.image.jpg", png(3)), ("a.cls", b"0")]))[0] == {"x.tar/a": (png(3), "0")}


@pytest.mark.parametrize("first", ["img.0001", "v1.2/photo.a", "a.b.c.d"])
def test_keys_may_have_dots(tmp_path, first):
    second = first[:-1] + "Z"
    members = [
        (f"{key}.{e}", c) for key, n in ((first, 1), (second, 2)) for e, c in (("jpg", png(n)), ("cls", b"%d" % n))
    ]
    found, notes = read(tar_of(tmp_path / "x.tar", [*members, (f"{first}.seg.png", png(3))]))
    assert found == {f"x.tar/{first}": (png(1), "1"), f"x.tar/{second}": (png(2), "2")}
    assert notes.left_out == {"images beside the sample's own, .seg.png": 1}
    found, _ = read(tar_of(tmp_path / "x.tar", [member for member in members if member[0].endswith("jpg")]))
    assert found == {f"x.tar/{first}": (png(1), None), f"x.tar/{second}": (png(2), None)}


def test_a_key_twice_is_skipped_by_name(tmp_path):
    one = [("a.jpg", png(1)), ("a.cls", b"1")]
    other = [("a.jpg", png(2)), ("a.cls", b"2")]
    whole = [("b.jpg", png(3)), ("b.cls", b"3")]
    for members in ([*one, *other, *whole], [*one, *whole, *other], [one[0], other[0], one[1], other[1], *whole]):
        found, notes = read(tar_of(tmp_path / "x.tar", members))
        assert found == {"x.tar/b": (png(3), "3")}
        assert notes.skipped == [("x.tar/a", "2 members are called a.jpg: each sample needs its own key")]


def test_a_data_set_with_every_key_twice_is_refused(tmp_path):
    trees.tars(tmp_path / "tars", shards=1, cls=b"joy")
    with tarfile.open(tmp_path / "tars/0.tar", "a") as tar, tarfile.open(tmp_path / "tars/0.tar") as again:
        for member in again.getmembers():
            tar.addfile(member, again.extractfile(member))
    trees.tars(tmp_path / "tars/more", first=84, cls=b"joy")
    with pytest.raises(JobError, match=r"42 of 126 images cannot be read.*2 members are called 00000\.png"):
        build("webdataset", tmp_path / "tars", tmp_path / "out")


def test_members_of_one_key_need_not_be_neighbours(tmp_path):
    members = [(f"{key}.jpg", png(n)) for n, key in enumerate("abc")] + [(f"{key}.cls", key.encode()) for key in "cab"]
    found, notes = read(tar_of(tmp_path / "x.tar", members))
    assert found == {f"x.tar/{key}": (png(n), key) for n, key in enumerate("abc")}
    assert not notes.left_out
    assert not notes.skipped


def test_links_within_the_tar_are_followed(tmp_path):
    members = [
        ("data/1.bin.jpg", png(1)),
        ("s/a.jpg", b"", SYM | {"linkname": "../data/1.bin.jpg"}),
        ("s/a.cls", b"1"),
        ("s/b.jpg", b"", HARD | {"linkname": "data/1.bin.jpg"}),
        ("s/b.cls", b"2"),
        ("s/c.jpg", b"", SYM | {"linkname": "a.jpg"}),
        ("s/c.cls", b"", HARD | {"linkname": "./s/b.cls"}),
    ]
    found, notes = read(tar_of(tmp_path / "x.tar", members))
    assert {name: label for name, (image, label) in found.items() if image == png(1)} == {
        "x.tar/data/1.bin": None,
        "x.tar/s/a": "1",
        "x.tar/s/b": "2",
        "x.tar/s/c": "2",
    }
    assert not notes.skipped


@pytest.mark.parametrize("linkname", ["/etc/passwd", "../../outside.jpg", "nothing.jpg", "a.jpg", "", "b.jpg"])
def test_broken_links_are_skipped_by_name(tmp_path, linkname):
    members = [("a.jpg", b"", SYM | {"linkname": linkname}), ("a.cls", b"1"), ("c.jpg", png(1)), ("c.cls", b"3")]
    members += [("b.jpg", b"", SYM | {"linkname": "a.jpg"}), ("b.cls", b"2")]
    found, notes = read(tar_of(tmp_path / "x.tar", members))
    assert found == {"x.tar/c": (png(1), "3")}
    assert [name for name, _ in notes.skipped] == ["x.tar/a", "x.tar/b"]
    assert all("a link to" in reason for _, reason in notes.skipped)


@pytest.mark.parametrize("format", ["gnu", "posix"])
def test_sparse_members_are_skipped_by_name(tmp_path, format):
    (tmp_path / "in").mkdir()
    for i in range(3):
        content = png(i)
        with open(tmp_path / f"in/{i}.png", "wb") as file:
            file.write(content)
            if i:
                file.truncate(1 << 20)  # a hole after the image
        (tmp_path / f"in/{i}.cls").write_text(str(i))
    command = ["tar", "--sparse", f"--format={format}", "-cf", tmp_path / "x.tar", "-C", tmp_path / "in", "."]
    subprocess.run(command, check=True)
    found, notes = read(tmp_path / "x.tar")
    assert found == {"x.tar/0": (png(0), "0")}
    assert sorted(name for name, _ in notes.skipped) == ["x.tar/1", "x.tar/2"]
    assert all("sparse file" in reason for _, reason in notes.skipped)


@pytest.mark.parametrize("zeros", ["as written", "none", "one block", "a megabyte"])
def test_joined_tars_are_read_to_the_end(tmp_path, zeros):
    parts = []
    for i in range(3):
        content = tar_of(tmp_path / "part.tar", [(f"{i}.png", png(i)), (f"{i}.cls", b"%d" % i)]).read_bytes()
        bare = content.rstrip(b"\0")
        bare += bytes(-len(bare) % 512)
        parts.append(
            {"as written": content, "none": bare, "one block": bare + bytes(512)}.get(zeros, bare + bytes(1 << 20))
        )
    (tmp_path / "x.tar").write_bytes(b"".join(parts) + bytes(1024))
    found, notes = read(tmp_path / "x.tar")
    assert sorted(found.values()) == sorted((png(i), str(i)) for i in range(3))
    assert not notes.skipped


def test_the_same_keys_in_joined_tars_are_different_samples(tmp_path):
    parts = [tar_of(tmp_path / "part.tar", [("a.png", png(i)), ("a.cls", b"%d" % i)]).read_bytes() for i in range(2)]
    (tmp_path / "x.tar").write_bytes(b"".join(parts))
    assert read(tmp_path / "x.tar")[0] == {"x.tar/a": (png(0), "0"), "x.tar/part 2/a": (png(1), "1")}


def test_data_after_the_end_of_a_tar_is_noted(tmp_path):
    path = tar_of(tmp_path / "x.tar", [("a.png", png(1)), ("a.cls", b"1")])
    with open(path, "ab") as file:
        file.write(b"no header" * 100)
    found, notes = read(path)
    assert found == {"x.tar/a": (png(1), "1")}
    assert [name for name, reason in notes.skipped if "damaged" in reason] == ["x.tar"]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_of_header_is_read(tmp_path, format):
    deep = "/".join(["folder with a long name"] * 5) + "/" + ("é" if format != tarfile.USTAR_FORMAT else "e")
    members = [(deep, b"", {"type": tarfile.DIRTYPE}), (f"{deep}/a.PNG", png(1)), (f"./{deep}/a.CLS", b"1")]
    settings = {"pax_headers": {"comment": "x" * 2000}} if format == tarfile.PAX_FORMAT else {}
    found, notes = read(tar_of(tmp_path / "x.tar", members, format=format, **settings))
    assert found == {f"x.tar/{deep}/a": (png(1), "1")}
    assert not notes.skipped


def test_other_members_are_counted(tmp_path):
    device = {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}
    members = [("a.png", png(1)), ("a.cls", b"1"), ("a.txt", b"x"), ("b.heic", b"x"), ("b.cls", b"2"), ("README", b"x")]
    members += [("d.jpg", b"", device), ("d.cls", b"3"), ("p.jpg", b"", {"type": tarfile.FIFOTYPE}), ("p.cls", b"4")]
    members += [("__MACOSX/._a.png", b"x"), ("._a.png", b"x"), (".hidden/e.png", png(2)), ("big.png", png(3))]
    members += [("big.json", b" " * (1 << 21)), ("odd.jpg", png(5), {"type": b"Z"})]
    found, notes = read(tar_of(tmp_path / "x.tar", members))
    assert found == {"x.tar/a": (png(1), "1")}
    assert notes.left_out == {
        "files ending in .txt": 1,
        "files ending in .heic": 1,
        "files without an ending that hold no image": 1,
        "samples without an image": 1,
        "hidden files and files of tools": 3,
    }
    assert dict(notes.skipped) == {
        "x.tar/d": "not a plain file",
        "x.tar/p": "not a plain file",
        "x.tar/odd": "not a plain file",
        "x.tar/big": "its .json: has 2 MiB",
    }


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_compressed_tar_under_another_name_is_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "x.tar", f"w:{kind}") as tar:
        add(tar, "a.jpg", png(1))
    with pytest.raises(JobError, match=r"x\.tar is compressed \(\w+\): decompress it"):
        read(tmp_path / "x.tar")
    found, _ = read(tar_of(tmp_path / "y.tar", [("BZh.jpg", png(1))]))
    assert found, "a name that begins as a compressed file does"


def test_damage_at_any_byte_never_gives_a_wrong_sample(tmp_path):
    """Truncate or change a tar at any byte: samples that remain equal the original ones."""
    members = [(f"{n}.{e}", c) for n in range(4) for e, c in (("png", png(n)), ("cls", b"%d" % n))]
    content = tar_of(tmp_path / "x.tar", members).read_bytes()
    right = {f"x.tar/{n}": (png(n), str(n)) for n in range(4)}
    rng = np.random.default_rng(0)
    for end in rng.integers(0, len(content), 60).tolist():
        (tmp_path / "x.tar").write_bytes(content[:end])
        found, notes = read(tmp_path / "x.tar")
        assert found.items() <= right.items()
        assert len(found) == 4 or notes.skipped
    for header in range(0, 4 * 512, 7):
        changed = bytearray(content)
        changed[header % 512 + 1024 * (header // 512)] ^= 255
        (tmp_path / "x.tar").write_bytes(changed)
        read(tmp_path / "x.tar")


@pytest.mark.parametrize("size", [b"\x80" + b"\xff" * 11, b"\xff" * 12, b"77777777777\0", b"-0000000001\0", b"x" * 12])
def test_impossible_sizes_in_a_header(tmp_path, size):
    header = bytearray(tar_of(tmp_path / "x.tar", [("a.png", b"")]).read_bytes())
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:155] = b"%06o\0" % sum(header[:512])
    (tmp_path / "x.tar").write_bytes(header)
    found, notes = read(tmp_path / "x.tar")
    assert not found
    assert notes.skipped


@pytest.mark.parametrize(
    "about",
    [
        *(b"[" * 100_000, b'{"a":' * 100_000, b'{"subject": ' + b"9" * 5000 + b"}", b"[]", b"null", b"\xff\xfe", b"{"),
        *(b'{"domain": "male", "subject": "a\\u0000b"}', b'{"domain": {"a": [1e999]}}', b'{"domain": NaN}'),
    ],
)
def test_any_json_ends_in_a_sample_or_in_its_name(tmp_path, about):
    trees.tars(tmp_path / "tars", cls=b"joy")
    trees.tars(tmp_path / "tars/odd", shards=1, each=1, first=500, json=about)
    build("webdataset", tmp_path / "tars", tmp_path / "out", max_skipped="1", options={"classes": ",".join(EMOTIONS)})


@pytest.mark.parametrize(
    "label", [b"9" * 5000, b"-" + b"9" * 5000, b"\0", b"\xff" * 9, b"1e999", b"0" * 2000, b"[" * 99]
)
def test_any_class_of_a_tar_ends_in_a_sample_or_in_a_count(tmp_path, label):
    trees.tars(tmp_path / "tars", cls=b"joy")
    trees.tars(tmp_path / "tars/odd", shards=1, each=1, first=500, cls=label)
    options = {"classes": ",".join(EMOTIONS)}
    manifest = build("webdataset", tmp_path / "tars", tmp_path / "out", max_skipped="1", options=options)
    assert sum(manifest.left_out.values()) == 1
    assert json.dumps(manifest.left_out)
