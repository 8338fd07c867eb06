"""Parquet files as Hugging Face's data sets hold them."""

import io
import json
import sys

import numpy as np
import pytest

from job.datasets.image_bytes import fetch
from job.datasets.image_search import ParquetImage
from job.datasets.parquet_files import read_images
from job.system.errors import JobError
from job.vocabulary import EMOTIONS
from tests.support import trees
from tests.support.datasets import build, found, samples

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

NAMES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


def encoded(number: int) -> bytes:
    content = io.BytesIO()
    trees.picture(number).save(content, "PNG")
    return content.getvalue()


def features(**labels) -> dict:
    """The metadata that the library `datasets` writes: names for the numbers of the columns."""
    described = {name: {"names": names, "_type": "ClassLabel"} for name, names in labels.items()}
    return {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, **described}}})}


def write(path, first=0, rows=28, metadata=None, row_group_size=5, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = range(first, first + rows)
    columns = {
        "image": [{"bytes": encoded(n), "path": f"{n}.png"} for n in numbers],
        "label": [n % 7 for n in numbers],
        "gender": [n // 7 % 2 for n in numbers],
    } | changes
    table = pyarrow.table({name: values for name, values in columns.items() if values is not None})
    parquet.write_table(table.replace_schema_metadata(metadata), path, row_group_size=row_group_size)
    return path


def test_images_labels_and_domains_by_the_names_of_the_schema(tmp_path):
    metadata = features(label=NAMES, gender=["male", "female"])
    for split, first in (("train", 0), ("validation", 56), ("test", 84)):
        rows = 56 if split == "train" else 28
        write(tmp_path / "set" / "data" / f"{split}-00000-of-00001.parquet", first, rows, metadata)
    (tmp_path / "set" / "README.md").write_text("a card")
    manifest = build("parquet", tmp_path / "set", tmp_path / "out")
    read = samples(tmp_path / "out")
    assert len(read) == 112
    assert not manifest.left_out
    names = ("anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral")
    for sample in read:
        number = int(sample["source"].rpartition("/")[2].removesuffix(".png"))
        assert sample["emotion"] == names[number % 7]
        assert sample["domain"] == ("source", "target")[number // 7 % 2]
        assert sample["split"] == ("train" if number < 56 else "val" if number < 84 else "test")
        wanted = np.asarray(trees.picture(number).crop((4, 0, 36, 32)).resize((16, 16), 4)).astype(int)
        assert np.abs(sample["image"] - wanted).mean() < 8


def test_bytes_without_a_struct_and_columns_by_name(tmp_path):
    changes = {
        "image": None,
        "pixels": [encoded(n) for n in range(28)],
        "label": None,
        "what": [NAMES[n % 7] if n % 2 else "" for n in range(28)],
        "gender": None,
        "season": [("winter", "summer")[n % 2] for n in range(28)],
        "who": [f"p{n // 4}" for n in range(28)],
    }
    write(tmp_path / "x.parquet", **changes)
    options = {"label": "what", "domain": "season", "subject": "who", "source": "summer", "target": "winter"}
    entries = list(found("parquet", tmp_path, **options).values())
    assert [entry.emotion for entry in entries] == [NAMES[n % 7] if n % 2 else None for n in range(28)]
    assert [entry.domain for entry in entries] == ["winter", "summer"] * 14
    assert [entry.subject for entry in entries] == [f"p{n // 4}" for n in range(28)]
    assert entries[9].location == ParquetImage(str(tmp_path / "x.parquet"), "pixels", 9)
    with pytest.raises(JobError, match=r"--option label=nothing: .* has no such column"):
        found("parquet", tmp_path, **{**options, "label": "nothing"})
    with pytest.raises(JobError, match="has no column of the domain but what, season, who"):
        found("parquet", tmp_path)


def test_numbers_without_names_need_a_list_of_classes(tmp_path):
    write(tmp_path / "x.parquet", gender=["m" if n % 2 else "f" for n in range(28)])
    assert next(iter(found("parquet", tmp_path).values())).emotion == "0"
    named = found("parquet", tmp_path, classes=",".join(EMOTIONS))
    assert [entry.emotion for entry in named.values()] == [EMOTIONS[n % 7] for n in range(28)]


def test_rows_in_any_order(tmp_path):
    path = str(write(tmp_path / "x.parquet", rows=300, row_group_size=70))
    for row in (0, 1, 69, 70, 299, 5, 150, 149):
        assert fetch(ParquetImage(path, "image", row)) == encoded(row)
    assert [name for name, _ in read_images(path)] == [f"{n}.png" for n in range(300)]
    assert all(content == encoded(n) for n, (_, content) in enumerate(read_images(path)))


def test_rows_without_an_image_are_skipped_with_the_reason(tmp_path):
    images = [{"bytes": encoded(n) if n % 14 else None, "path": f"{n}.png"} for n in range(56)]
    genders = ["male" if n // 7 % 2 else "female" for n in range(56)]
    write(tmp_path / "set" / "x.parquet", rows=56, image=images, gender=genders, metadata=features(label=NAMES))
    build("parquet", tmp_path / "set", tmp_path / "out", max_skipped="4")
    lines = (tmp_path / "out" / "skipped.csv").read_text().splitlines()
    assert len(lines) == 5
    assert lines[1] == "x.parquet/0000000/0.png,the row holds no image bytes"


def test_files_that_are_no_parquet(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(JobError, match=r"a\.parquet is no whole parquet file"):
        found("parquet", tmp_path)
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(JobError, match=r"contains no \.parquet"):
        found("parquet", tmp_path)
    write(tmp_path / "b.parquet", image=None)
    with pytest.raises(JobError, match="has 0 columns of images"):
        found("parquet", tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(JobError, match="parquet files need pyarrow: pip install pyarrow"):
        found("parquet", tmp_path)
