"""`inspect` counts, checks every byte, and draws a contact sheet."""

import errno
import hashlib
import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from job.__main__ import run
from job.shards.inspection.contact_sheet import write_sheet
from job.shards.inspection.inspect_shards import inspect_shards
from job.shards.manifest import load_manifest
from job.system.errors import JobError
from tests.support import trees
from tests.support.datasets import build


def test_the_table(made):
    text = inspect_shards(made)
    rows = {tuple(line.split()[:2]): line.split()[2:] for line in text.splitlines() if len(line.split()) > 5}
    assert rows["source", "train"] == ["12", "60", "0.2", "yes", "20", "20", "20"]
    assert rows["target", "train"][3:] == ["no", "-", "-", "-"]
    assert rows["target", "test"][3:] == ["yes", "4", "4", "4"]
    assert "layout toy, 16 x 16 pixels" in text


def test_verify(made):
    assert "verified: 40 shards, 162 images" in inspect_shards(made, verify=True)


def change(shards, path, content, **about):
    """Replace a shard and update the manifest."""
    (shards / path).write_bytes(content)
    manifest = json.loads((shards / "manifest.json").read_text())
    for splits in manifest["domains"].values():
        for infos in splits.values():
            for info in infos:
                if info["path"] == path:
                    info.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), **about)
    (shards / "manifest.json").write_text(json.dumps(manifest))


def test_a_changed_byte_is_found(shards):
    path = shards / "source/val/source-val-000002.tar"
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    for verify in (False, True):
        with pytest.raises(JobError, match=r"source-val-000002\.tar: its sha256 is not the manifest's"):
            inspect_shards(shards, verify=verify)


def test_an_image_that_cannot_be_decoded_is_named(shards):
    path = "source/val/source-val-000002.tar"
    content = (shards / path).read_bytes()
    start = content.index(b"\xff\xd8\xff")
    change(shards, path, content[:start] + b"nothing" + content[start + 7 :])
    with pytest.raises(JobError, match=r"source-val-000002\.tar: source-val-\d{7} cannot be decoded"):
        inspect_shards(shards, verify=True)


def test_wrong_counts_are_found(shards):
    path = "source/val/source-val-000002.tar"
    counts = next(info for info in load_manifest(shards).shards("source", "val") if info.path == path).class_counts
    assert len(set(counts)) > 1
    change(shards, path, (shards / path).read_bytes(), class_counts=counts[::-1])
    with pytest.raises(JobError, match=r"holds \[.*\] samples of the classes but the manifest says \["):
        inspect_shards(shards, verify=True)


def test_a_label_where_there_must_be_none_is_found(shards, made_with_target_labels):
    path = "target/train/target-train-000000.tar"
    change(shards, path, (made_with_target_labels / path).read_bytes())
    with pytest.raises(JobError, match=r"contains target-train-0000000\.cls but must not have labels"):
        inspect_shards(shards, verify=True)


def test_the_contact_sheet(made, tmp_path):
    write_sheet(made, tmp_path / "sheet.png")
    sheet = np.array(Image.open(tmp_path / "sheet.png"))
    assert sheet.ndim == 3
    for channel, colour in enumerate(((220, 40, 40), (40, 220, 40), (40, 40, 220))):
        near = (np.abs(sheet.astype(int) - colour).max(2) < 12).any(1)
        assert near.any(), f"no picture of class {channel}"


def test_class_shares_subjects_and_pixels(tmp_path):
    """Images of women show joy twice as often and are brighter."""
    number = 0
    for domain, share in (("Male", 1), ("Female", 2)):
        for emotion in ("joy", "fear"):
            for i in range(20 * (share if emotion == "joy" else 1)):
                path = trees.put(tmp_path / "set" / domain / emotion / f"{domain}{i % 10}-{i}.png", number)
                if domain == "Female":
                    Image.fromarray(np.asarray(Image.open(path)) // 2 + 120).save(path)
                number += 1
    for _ in range(2):
        shutil.copy(tmp_path / "set/Male/joy/Male0-0.png", tmp_path / f"set/Male/joy/Male0-copy{_}.png")
    options = {"subject": r"([^/]+)-", "val": 0.25, "test": 0.25}
    build("folders", tmp_path / "set", tmp_path / "out", options=options)
    text = inspect_shards(tmp_path / "out", verify=True)
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.split()}
    shares = {split: lines[split][2:] for split in ("train", "val", "test")}
    joy, fear = (load_manifest(tmp_path / "out").class_names.index(name) for name in ("joy", "fear"))
    for split, row in shares.items():
        assert float(row[joy]) == -float(row[fear]) > 5, (split, row)
        assert lines[split][1] == row[joy].removeprefix("+")
    for domain in ("source", "target"):
        assert sum(int(lines[f"{domain}/{split}"][1]) for split in ("train", "val", "test")) == 10
        assert all(lines[f"{domain}/{split}"][2] == "0" for split in ("train", "val", "test"))
    for channel in (4, 5, 6):
        assert float(lines["target/train"][channel]) > float(lines["source/train"][channel]) + 40
    assert "subjects in two splits: 0" in text
    assert "equal images: 0 groups across splits, 0 across domains, 1 within a split" in text


def test_equal_images_across_splits_and_domains_are_counted(tmp_path):
    rows = []
    for i in range(48):
        trees.put(tmp_path / "set" / f"{i}.png", i)
        domain, split = ("male", "female")[i % 2], ("train", "val", "test")[i // 2 % 3]
        rows.append({"path": f"{i}.png", "domain": domain, "emotion": "joy", "split": split})
    for path, other in ((0, 6), (1, 12)):
        pixels = Image.open(tmp_path / "set" / f"{path}.png")
        pixels.save(tmp_path / "set" / f"{other}.png", compress_level=1)  # other bytes, and the same pixels
    pixels.save(tmp_path / "set" / "14.png", compress_level=3)
    trees.table(tmp_path / "set", rows)
    build("csv", tmp_path / "set", tmp_path / "out")
    text = inspect_shards(tmp_path / "out")
    assert "equal images: 1 groups across splits, 1 across domains, 1 within a split" in text


def test_a_subject_in_two_splits_is_found(shards, made):
    manifest = json.loads((shards / "manifest.json").read_text())
    train, val = manifest["domains"]["source"]["train"], manifest["domains"]["source"]["val"]
    shutil.copy(made / train[0]["path"], shards / val[0]["path"])
    val[0] |= {key: value for key, value in train[0].items() if key != "path"}
    (shards / "manifest.json").write_text(json.dumps(manifest))
    assert re.search(r"subjects in two splits: [1-5]:", inspect_shards(shards))
    with pytest.raises(JobError, match=r"source-train-\d+ \(source\) is in two splits"):
        inspect_shards(shards, verify=True)


def test_dropped_images_are_reported(tmp_path):
    trees.folders(tmp_path / "set", names=(*trees.EMOTIONS, "contempt"))
    build("folders", tmp_path / "set", tmp_path / "out")
    assert "left out: 12 emotion contempt" in inspect_shards(tmp_path / "out")


# The command --------------------------------------------------------------------------------------------------------


def inspect(capsys, monkeypatch, *words):
    """Return exit code, stdout and stderr of the command."""
    monkeypatch.setattr("sys.argv", ["job", "inspect", *map(str, words)])
    code = run()
    return code, *capsys.readouterr()


@pytest.mark.parametrize("place", ["folder", "missing/parent.png", "full", "read-only"])
def test_the_table_is_printed_where_the_sheet_cannot_be_written(made, tmp_path, capsys, monkeypatch, place):
    sheet = tmp_path / place
    if place == "folder":
        sheet = tmp_path / "folder.png"
        sheet.mkdir()
    elif place == "missing/parent.png":
        (tmp_path / "missing").write_text("a file, where a folder is needed")
    else:
        sheet = tmp_path / "sheet.png"
        error = {"full": errno.ENOSPC, "read-only": errno.EROFS}[place]

        def fail(self, path, **settings):
            raise OSError(error, os.strerror(error))

        monkeypatch.setattr(Image.Image, "save", fail)
    code, out, err = inspect(capsys, monkeypatch, made, "--sheet", sheet)
    assert code == 2
    assert "layout toy, 16 x 16 pixels" in out
    assert "subjects in two splits: 0" in out
    assert "contact sheet" not in out
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert "--sheet" in err
    assert not list(tmp_path.rglob("*.partial"))


def test_the_sheet_is_named_behind_the_table(made, tmp_path, capsys, monkeypatch):
    code, out, err = inspect(capsys, monkeypatch, made, "--sheet", tmp_path / "deep" / "sheet.jpg")
    assert (code, err) == (0, "")
    assert out.endswith(f"contact sheet: {tmp_path / 'deep' / 'sheet.jpg'}\n")
    assert Image.open(tmp_path / "deep" / "sheet.jpg").format == "JPEG"
    code, out, err = inspect(capsys, monkeypatch, made, "--sheet", tmp_path / "sheet.xyz")
    assert (code, out) == (2, "")
    assert "give the name of an image" in err


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"null", b"[" * 100_000, b'{"a":' * 50_000, b'{"version":' + b"9" * 5000 + b"}", b"\xff\xfe", b"\0"),
        *(b'{"version": 1}', b'{"version": 1, "size": 1000000000}'),
    ],
    ids=lambda content: str(content[:20]),
)
def test_an_invalid_manifest_is_refused_in_one_line(shards, capsys, monkeypatch, content):
    (shards / "manifest.json").write_bytes(content)
    code, out, err = inspect(capsys, monkeypatch, shards)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "manifest.json" in err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("size", 10**9),
            ("size", 10**30),
            ("layout", None),
            ("class_names", []),
            ("domains", {"source": {"train": []}}),
        ),
        *(("samples", 10**18), ("bytes", 10**18), ("path", "\0"), ("path", "x" * 5000), ("class_counts", None)),
        *(("class_counts", [10**18] * 3), ("labelled", False)),
    ],
)
def test_invalid_values_of_a_manifest_are_refused_in_one_line(shards, capsys, monkeypatch, name, value):
    manifest = json.loads((shards / "manifest.json").read_text())
    first = manifest["domains"]["source"]["train"][0]
    (manifest if name in manifest else first)[name] = value
    (shards / "manifest.json").write_text(json.dumps(manifest))
    code, _, err = inspect(capsys, monkeypatch, shards, "--verify", "--sheet", shards.parent / "sheet.png")
    assert code == 2
    assert err.count("\n") == 1
    assert len(err) < 2200


def test_the_sheet_of_augmented_views(made, tmp_path, capsys, monkeypatch):
    """The image, then ordinary and strong views: those of one seed are the same again, and the strong ones differ."""
    (tmp_path / "my.yaml").write_text("{}\n")
    plain = [f"data.augment.{word}" for word in ("flip=false", "rotate=0", "shift=0", "scale=[1,1]", "brightness=0")]
    words = [made, "--views", 3, "--config", tmp_path / "my.yaml"]
    sheets = {}
    for name, overrides in {
        "off": [*plain, "data.augment.contrast=0"],
        "on": [],
        "again": [],
        "seed": ["seed=1"],
    }.items():
        code, _, err = inspect(capsys, monkeypatch, *words, "--sheet", tmp_path / f"{name}.png", *overrides)
        assert (code, err) == (0, "")
        sheets[name] = np.array(Image.open(tmp_path / f"{name}.png")).astype(int)
    image, first, strong = ((slice(16, 16 + 16), slice(left, left + 16)) for left in (0, 18 + 8, 4 * 18 + 16))
    off = sheets["off"]
    assert np.abs(off[first] - off[image]).max() <= 1
    assert np.abs(off[strong] - off[image]).mean() > 5
    assert np.array_equal(sheets["on"], sheets["again"])
    assert not np.array_equal(sheets["on"], sheets["seed"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--views", 3], "--views needs --sheet"),
        (["--views", 99, "--sheet", "x.png", "--config", "x.yaml"], "--views 99 must be between 1 and 50"),
        (["seed=1"], "belong to --views"),
    ],
)
def test_options_of_the_views_that_do_not_fit_are_refused(made, capsys, monkeypatch, words, says):
    code, out, err = inspect(capsys, monkeypatch, made, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err
