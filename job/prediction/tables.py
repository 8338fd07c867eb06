"""Write predictions as CSV, JSON lines or parquet."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from job.shards.writing.face_detector import Face
from job.system.errors import JobError
from job.system.text import csv_row, printable

FORMATS = ("csv", "jsonl", "parquet")
_ENDINGS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_FACE = ("face_left", "face_top", "face_width", "face_height", "face_score")
_ROWS = 4096  # of a parquet file, written at a time


class Row(NamedTuple):
    """The prediction for one face, or one image.

    `probabilities` is float [C]; `calibrated` the calibrated probability of the predicted class, None where there is no
    calibration; `face` is in px of the upright photo.
    """

    path: str | Path
    probabilities: np.ndarray
    calibrated: float | None = None
    face: Face | None = None


class Columns(NamedTuple):
    """The optional columns, besides path, label and confidence."""

    class_names: Sequence[str]
    calibrated: bool
    faces: bool


class Table(Protocol):
    """A file to which rows are written."""

    def write(self, row: Row) -> None:
        """Add a row."""

    def close(self) -> None:
        """Write the remaining rows and close the file."""


def format_of(out: Path, wanted: str | None) -> str:
    """Return the wanted format, else that of the ending; CSV for .txt and names without an ending.

    Raises JobError for another ending, and for parquet without pyarrow.
    """
    ending = out.suffix.lower()
    kind = wanted or _ENDINGS.get(ending)
    if kind is None:
        if ending not in ("", ".txt"):
            raise JobError(f"--out {out}: the name must end in {', '.join(_ENDINGS)}, or add --format csv for instance")
        kind = "csv"
    if kind == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise JobError(f"--out {out}: writing parquet needs pyarrow: pip install pyarrow") from None
    return kind


def open_table(path: Path, kind: str, columns: Columns) -> Table:
    """Open a new table of one of FORMATS. Raises OSError."""
    tables: dict[str, Callable[[Path, Columns], Table]] = {
        "csv": CsvTable,
        "jsonl": JsonTable,
        "parquet": ParquetTable,
    }
    return tables[kind](path, columns)


def cells_of(row: Row, columns: Columns) -> dict[str, Any]:
    """Return the cells of a row by the names of the columns."""
    best = int(row.probabilities.argmax())
    cells: dict[str, Any] = {
        "path": row.path,
        "label": columns.class_names[best],
        "confidence": float(row.probabilities[best]),
    }
    cells |= dict(zip(columns.class_names, map(float, row.probabilities), strict=True))
    if columns.calibrated:
        cells["calibrated_confidence"] = row.calibrated
    if columns.faces:
        face = row.face
        box = () if face is None else (face.left, face.top, face.width, face.height, face.score)
        cells |= dict.fromkeys(_FACE) | dict(zip(_FACE, box))
    return cells


class CsvTable:
    """A CSV file; probabilities have four decimals, the face's box one."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self._columns = columns
        self._file = open(path, "w", newline="", encoding="utf-8")  # noqa: SIM115
        self._writer = csv.writer(self._file)
        nothing = Row("", np.zeros(len(columns.class_names)))
        self._writer.writerow(csv_row(cells_of(nothing, columns)))

    def write(self, row: Row) -> None:
        cells = cells_of(row, self._columns)
        texts = [
            cell if not isinstance(cell, float) else f"{cell:.1f}" if name in _FACE[:4] else f"{cell:.4f}"
            for name, cell in cells.items()
        ]
        self._writer.writerow(csv_row(texts))

    def close(self) -> None:
        self._file.close()


class JsonTable:
    """A file with one JSON object per line; probabilities by class, and the face's box, landmarks and score."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self._columns = columns
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115

    def write(self, row: Row) -> None:
        cells = cells_of(row, self._columns)
        names = self._columns.class_names
        content = {name: cells[name] for name in ("label", "confidence")}
        content = {"path": printable(str(row.path), keep="")} | content
        content["probabilities"] = dict(zip(names, map(float, row.probabilities), strict=True))
        if self._columns.calibrated:
            content["calibrated_confidence"] = row.calibrated
        if self._columns.faces:
            face = row.face
            box = None if face is None else [face.left, face.top, face.width, face.height]
            content["face"] = face and {"box": box, "points": face.points, "score": face.score}
        self._file.write(json.dumps(content) + "\n")

    def close(self) -> None:
        self._file.close()


class ParquetTable:
    """A parquet file with the columns of the CSV, in full precision."""

    def __init__(self, path: Path, columns: Columns) -> None:
        import pyarrow
        from pyarrow.parquet import ParquetWriter

        self._columns = columns
        names = cells_of(Row("", np.zeros(len(columns.class_names))), columns)
        text = ("path", "label")
        self._schema = pyarrow.schema(
            [(name, pyarrow.string() if name in text else pyarrow.float64()) for name in names]
        )
        self._writer = ParquetWriter(path, self._schema)
        self._rows: list[dict[str, Any]] = []

    def write(self, row: Row) -> None:
        cells = cells_of(row, self._columns)
        cells["path"] = printable(str(row.path), keep="")
        self._rows.append(cells)
        if len(self._rows) == _ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow

        self._writer.write_table(pyarrow.Table.from_pylist(self._rows, self._schema))
        self._rows = []
