"""`inspect` counts, checks every byte, and draws a contact sheet."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from job.data.inspect import inspect_shards
from job.errors import JobError


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
    """Replace a shard, and tell the manifest so."""
    (shards / path).write_bytes(content)
    held = json.loads((shards / "manifest.json").read_text())
    for splits in held["domains"].values():
        for infos in splits.values():
            for info in infos:
                if info["path"] == path:
                    info.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), **about)
    (shards / "manifest.json").write_text(json.dumps(held))


def test_a_changed_byte_is_found(shards):
    path = shards / "source/val/source-val-000002.tar"
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    inspect_shards(shards)
    with pytest.raises(JobError, match=r"source-val-000002\.tar: its sha256 is not the manifest's"):
        inspect_shards(shards, verify=True)


def test_an_image_that_cannot_be_decoded_is_named(shards):
    path = "source/val/source-val-000002.tar"
    content = (shards / path).read_bytes()
    start = content.index(b"\xff\xd8\xff")
    change(shards, path, content[:start] + b"nothing" + content[start + 7 :])
    with pytest.raises(JobError, match=r"source-val-000002\.tar: source-val-\d{7} cannot be decoded"):
        inspect_shards(shards, verify=True)


def test_wrong_counts_are_found(shards):
    path = "source/val/source-val-000002.tar"
    change(shards, path, (shards / path).read_bytes(), class_counts=[9, 9, 9])
    with pytest.raises(JobError, match=r"samples of each class but the manifest says \(9, 9, 9\)"):
        inspect_shards(shards, verify=True)


def test_a_label_where_there_must_be_none_is_found(shards, made_with_target_labels):
    path = "target/train/target-train-000000.tar"
    change(shards, path, (made_with_target_labels / path).read_bytes())
    with pytest.raises(JobError, match=r"holds target-train-0000000\.cls but must not have labels"):
        inspect_shards(shards, verify=True)


def test_the_contact_sheet(made, tmp_path):
    inspect_shards(made, sheet=tmp_path / "sheet.png")
    sheet = np.array(Image.open(tmp_path / "sheet.png"))
    assert sheet.ndim == 3
    for channel, colour in enumerate(((220, 40, 40), (40, 220, 40), (40, 40, 220))):
        near = (np.abs(sheet.astype(int) - colour).max(2) < 12).any(1)
        assert near.any(), f"no picture of class {channel}"
