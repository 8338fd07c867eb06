"""Tables with a header and a row for each image: reading them, and the layout `csv`.

The columns are path, domain and emotion (or class, or label), and, where known, subject and split; in any order and
case, other columns are passed over. Rows of the target may leave the emotion empty. Paths are relative to the folder of
the table, or absolute. `--option table=FILE` names it unless it is the only .csv of the root. In a pair the columns
domain and emotion may be missing.
"""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from job.datasets.class_names import is_unlabelled
from job.datasets.image_search import Found, Notes, printable, same_domain, simple, split_of
from job.datasets.layout import file_layout
from job.system.errors import JobError

_CLASSES = ("emotion", "class", "label")  # columns that say the class: the first that the table has


def find(
    root: str, notes: Notes, *, source: str | None, target: str | None, table: str | None, classes: str | None = None
) -> Iterator[Found]:
    """Every row of the table, once. Without `source`, as in a pair, no row needs a domain or an emotion.

    Raises JobError for a table that lacks a column or has a bad row, or a row of the source that says no emotion.
    """
    path = _table(Path(root), table)
    alone = source is not None
    listed: dict[str, tuple] = {}
    for number, row in read_table(path, ("path", "domain") if alone else ("path",)):
        name, domain = row["path"], row.get("domain") or None
        column = next((column for column in _CLASSES if column in row), None)
        if alone and column is None:
            raise JobError(f"{path} has no column 'emotion' but {', '.join(row)}: add it; the source needs labels")
        emotion = None if column is None or is_unlabelled(row[column]) else row[column]
        if emotion is None and same_domain(domain, source):
            raise JobError(f"{path}, row {number} of the source has no {column}: complete it, or remove the row")
        split = row.get("split") or None
        if split is not None and split_of(split) is None:
            raise JobError(f"{path}, row {number}: split {split!r} is none of train, val and test: correct the table")
        said = (domain, emotion, row.get("subject") or None, split)
        if name in listed:
            if listed[name] != said:
                raise JobError(f"{path}, row {number}: {name} is listed before, and otherwise: correct the table")
            continue
        listed[name] = said
        yield Found(printable(name), os.path.join(path.parent, name), *said[:3], split and split_of(split))


def read_table(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file (comma, semicolon or tab) by column, with their line numbers.

    The names of columns are compared without case and spaces. Raises JobError when the file cannot be read, or lacks a
    column or a row a value.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            delimiter = max(",;\t", key=head.count)
            names = [simple(name) for name in next(csv.reader([head], delimiter=delimiter), [])]
            for column in columns:
                if simple(column) not in names:
                    raise JobError(f"{path} has no column {column!r} but {', '.join(names) or 'none'}: add it")
            for number, row in enumerate(csv.reader(file, delimiter=delimiter, strict=True), 2):
                if not any(row):
                    continue
                cells = [*row, *[""] * (len(names) - len(row))]
                values = {name: cell.strip() for name, cell in zip(names, cells)}
                for column in columns:
                    if not values.get(simple(column)):
                        raise JobError(f"{path}, row {number} has no {column}: complete it, or remove the row")
                yield number, values
    except UnicodeDecodeError:
        raise JobError(f"{path} is not text in UTF-8: save it as such") from None
    except csv.Error as error:
        raise JobError(f"{path} is not a CSV table ({error}): correct it") from None
    except OSError as error:
        raise JobError(f"cannot read {path} ({error.strerror}): give the path of the table") from None


def option_path(root: str, path: str) -> Path:
    """A path given with an option: as the user sees it, or below the root."""
    return Path(path) if os.path.exists(path) else Path(root, path)


def _table(root: Path, table: str | None) -> Path:
    if table is not None:
        return option_path(str(root), table)
    tables = sorted(path for path in root.iterdir() if path.suffix.lower() in (".csv", ".tsv"))
    if len(tables) != 1:
        raise JobError(f"{root} has {len(tables)} tables (.csv): name one, --option table=FILE")
    return tables[0]


LAYOUT = file_layout("csv", find, table=None, classes=None)
