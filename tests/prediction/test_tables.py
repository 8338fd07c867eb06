"""The same rows as CSV, JSON lines and parquet."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from job.prediction.tables import Columns, Row, format_of, open_table
from job.shards.writing.face_detector import Face
from job.system.errors import JobError

FACE = Face(10.25, 20.0, 30.0, 40.06, ((1.0, 2.0),), 0.875)
ROWS = [
    Row(Path("a.jpg"), np.array([0.25, 0.75]), 0.625, FACE),
    Row(Path("=b\n.jpg"), np.array([1.0, 0.0]), 0.5, None),
]
COLUMNS = Columns(("calm", "glad"), calibrated=True, faces=True)


def written(path, kind, columns=COLUMNS):
    table = open_table(path, kind, columns)
    for row in ROWS:
        table.write(row)
    table.close()
    return path


def test_csv(tmp_path):
    with open(written(tmp_path / "x", "csv"), newline="") as file:
        one, two = csv.DictReader(file)
    box = {"face_left": "10.2", "face_top": "20.0", "face_width": "30.0", "face_height": "40.1", "face_score": "0.8750"}
    numbers = {"confidence": "0.7500", "calm": "0.2500", "glad": "0.7500", "calibrated_confidence": "0.6250"}
    assert one == {"path": "a.jpg", "label": "glad"} | numbers | box
    assert list(one)[:5] == ["path", "label", "confidence", "calm", "glad"]
    assert (two["path"], two["face_left"], two["face_score"]) == ("./=b\\n.jpg", "", "")


def test_without_calibration_and_faces_the_columns_are_those_of_before(tmp_path):
    path = written(tmp_path / "x", "csv", Columns(("calm", "glad"), calibrated=False, faces=False))
    assert path.read_text().splitlines()[0] == "path,label,confidence,calm,glad"


def test_json_lines(tmp_path):
    one, two = map(json.loads, written(tmp_path / "x", "jsonl").read_text().splitlines())
    assert one == {
        "path": "a.jpg",
        "label": "glad",
        "confidence": 0.75,
        "probabilities": {"calm": 0.25, "glad": 0.75},
        "calibrated_confidence": 0.625,
        "face": {"box": [10.25, 20.0, 30.0, 40.06], "points": [[1.0, 2.0]], "score": 0.875},
    }
    assert (two["path"], two["face"]) == ("=b\\n.jpg", None)


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    one, two = parquet.read_table(written(tmp_path / "x", "parquet")).to_pylist()
    assert one == {
        "path": "a.jpg",
        "label": "glad",
        "confidence": 0.75,
        "calm": 0.25,
        "glad": 0.75,
        "calibrated_confidence": 0.625,
        "face_left": 10.25,
        "face_top": 20.0,
        "face_width": 30.0,
        "face_height": 40.06,
        "face_score": 0.875,
    }
    assert (two["calm"], two["face_left"]) == (1.0, None)


@pytest.mark.parametrize(
    ("name", "wanted", "kind"),
    [("a.csv", None, "csv"), ("a", None, "csv"), ("a.JSONL", None, "jsonl"), ("a.csv", "jsonl", "jsonl")],
)
def test_the_ending_or_the_option_decides(name, wanted, kind):
    assert format_of(Path(name), wanted) == kind


def test_an_unknown_ending_is_refused_without_a_format():
    with pytest.raises(
        JobError, match=r"a.xlsx: the name must end in .csv, .jsonl, .ndjson, .parquet, or add --format"
    ):
        format_of(Path("a.xlsx"), None)
    assert format_of(Path("a.xlsx"), "csv") == "csv"
