"""Read images and labels from parquet files in the format of Hugging Face data sets.

An image is a struct of `bytes` and `path`, or bytes alone; a label is a number that the schema's metadata names
(`ClassLabel`), or text. Files are read batch by batch, so they may be larger than the memory.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job.datasets.image_search import ParquetImage
from job.system.errors import JobError, first_line

ENDINGS = (".parquet",)
_ROWS = 64  # images in memory at once
_AHEAD = 4096  # rows that are read and dropped if the next requested image is near
_IMAGE_NAMES = ("image", "img", "picture", "photo", "face")
_thread = threading.local()


@dataclass(frozen=True)
class Columns:
    """The columns of a parquet file: those with words or numbers, those with images, and names of labels."""

    plain: tuple[str, ...]
    images: tuple[str, ...]
    structs: tuple[str, ...]  # those of `images` that are a struct with the field bytes
    class_names: dict[str, tuple[str, ...]]

    def image(self, path: str, wanted: str | None = None) -> str:
        """Return the column of the images. Raises JobError when there is none, or more than one to choose from."""
        if wanted is not None:
            if wanted not in self.images:
                raise JobError(f"{path} has no column {wanted!r} of images but {', '.join(self.images) or 'none'}")
            return wanted
        usual = [name for name in _IMAGE_NAMES if name in self.images]
        if not usual and len(self.images) != 1:
            raise JobError(
                f"{path} has {len(self.images)} columns of images (bytes): rename one to image, or, for shards, "
                "name it: --option image=COLUMN"
            )
        return (usual or self.images)[0]


def read_columns(path: str | Path) -> Columns:
    """Read the schema of a file. Raises JobError when it cannot be read, or pyarrow is missing."""
    import_pyarrow()
    from pyarrow import types

    with _open(path) as file:
        schema = file.schema_arrow
    plain, images, structs = [], [], []
    for field in schema:
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        if types.is_binary(kind) or types.is_large_binary(kind):
            images.append(field.name)
        elif types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            images.append(field.name)
            structs.append(field.name)
        elif any(test(kind) for test in (types.is_integer, types.is_string, types.is_large_string, types.is_boolean)):
            plain.append(field.name)
    return Columns(tuple(plain), tuple(images), tuple(structs), _class_names(schema.metadata or {}))


def read_rows(path: str | Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the values of these columns for every row; `image.path` is the field of a struct. Raises JobError."""
    with _open(path) as file:
        names = [name for name in columns if name in _leaves(file)]
        if not names:
            yield from ({} for _ in range(file.metadata.num_rows))
            return
        for batch in _batches(file, path, columns=names, batch_size=4096):
            yield from batch.to_pylist()


def read_images(path: str | Path, column: str | None = None) -> Iterator[tuple[str, bytes | None]]:
    """Yield (name, encoded image, None if the row has none) of every row, in order.

    The name is the file name that the row states, or else the number of the row. Raises JobError.
    """
    column = read_columns(path).image(str(path), column)
    with _open(path) as file:
        row = 0
        for batch in _batches(file, path, columns=[column], batch_size=_ROWS):
            for value in batch.column(0).to_pylist():
                named = value.get("path") if isinstance(value, dict) else None
                yield (named or "").replace("\\", "/").rpartition("/")[2] or str(row), _bytes_of(value)
                row += 1


def count_rows(path: str | Path) -> int:
    """Return the number of rows of a file. Raises JobError."""
    with _open(path) as file:
        return int(file.metadata.num_rows)


def image_in_row(location: ParquetImage) -> bytes:
    """Return the encoded image of a row. Rows that are requested in order, in one thread, are read once each.

    Raises OSError or ValueError when the file cannot be read or the row contains no image.
    """
    held = getattr(_thread, "reader", None)
    if held is None or not held.reaches(location):
        _thread.reader = held = _Reader(location)
    content = held.read(location.row)
    if not content:
        raise ValueError("the row holds no image bytes")
    return content


class _Reader:
    """Reads one column forwards from the row group of the first requested row."""

    def __init__(self, location: ParquetImage) -> None:
        self._path, self._column = location.path, location.column
        self._file = _open(location.path)
        self._start = 0
        group, groups = 0, self._file.metadata.num_row_groups
        while group < groups and self._start + self._rows_of(group) <= location.row:
            self._start += self._rows_of(group)
            group += 1
        self._batches = _batches(
            self._file, self._path, columns=[self._column], batch_size=_ROWS, row_groups=list(range(group, groups))
        )
        self._values: list[Any] = []

    def _rows_of(self, group: int) -> int:
        return self._file.metadata.row_group(group).num_rows

    def reaches(self, location: ParquetImage) -> bool:
        """Return whether the row is at or soon after the rows in memory."""
        same = (self._path, self._column) == (location.path, location.column)
        return same and self._start <= location.row < self._start + _AHEAD

    def read(self, row: int) -> bytes | None:
        while row >= self._start + len(self._values):
            self._start += len(self._values)
            try:
                self._values = next(self._batches).column(0).to_pylist()
            except StopIteration:
                raise ValueError("the file has no such row") from None
            except JobError as error:
                raise ValueError(str(error)) from None
        return _bytes_of(self._values[row - self._start])


def import_pyarrow() -> None:
    """Raise JobError when pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise JobError("parquet files need pyarrow: pip install pyarrow") from None


def _open(path: str | Path) -> Any:
    import_pyarrow()
    from pyarrow import ArrowException, parquet

    try:
        return parquet.ParquetFile(path)
    except ArrowException as error:
        raise JobError(f"{path} is no whole parquet file ({first_line(error)}): download it again") from None
    except OSError as error:
        raise JobError(f"cannot read {path} ({error.strerror or first_line(error)})") from None


def _batches(file: Any, path: str | Path, **settings: Any) -> Iterator[Any]:
    from pyarrow import ArrowException

    try:
        yield from file.iter_batches(**settings)
    except (ArrowException, OSError) as error:
        raise JobError(f"{path} is no whole parquet file ({first_line(error)}): download it again") from None


def _leaves(file: Any) -> set[str]:
    """Return the names of columns, and of the fields of structs as `image.path`."""
    leaves = {file.schema.column(i).path for i in range(len(file.schema))}
    return leaves | {leaf.partition(".")[0] for leaf in leaves}


def _bytes_of(value: Any) -> bytes | None:
    return value.get("bytes") if isinstance(value, dict) else value


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """Return the names that Hugging Face's metadata gives to the numbers of a column; none without such metadata."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        labels = {name: feature for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
        return {name: tuple(map(str, feature["names"])) for name, feature in labels.items()}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
