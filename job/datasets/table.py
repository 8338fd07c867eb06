"""Read tables with a header and a row for each image; the layout `csv`.

The columns are path, domain and emotion (or class, or label), and optionally subject and split, in any order and case;
other columns are ignored. The emotion may be empty in rows of the target. Paths are relative to the folder of the
table, or absolute. `--option table=FILE` names the table unless it is the only one below the root. In a pair the
columns domain and emotion are optional.
"""

import csv
import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from job.datasets.class_names import is_unlabelled
from job.datasets.file_kinds import is_tool_file
from job.datasets.image_search import ImageEntry, Notes, printable, same_domain, simple
from job.datasets.layout import file_layout
from job.datasets.split_names import read_split, split_of_folders
from job.system.errors import JobError

_CLASSES = ("emotion", "class", "label")  # columns of the class: the first that the table has counts


def find(
    root: str, notes: Notes, *, source: str | None, target: str | None, table: str | None, classes: str | None = None
) -> Iterator[ImageEntry]:
    """Yield every row of the table once. Without `source`, as in a pair, rows need no domain and no emotion.

    Raises JobError for a missing column, an invalid row, and a row of the source without an emotion.
    """
    path = _table(Path(root), table)
    alone = source is not None
    listed: dict[str, tuple] = {}
    for number, row in read_table(path, ("path", "domain") if alone else ("path",)):
        name, domain = _file_name(path.parent, row["path"]), row.get("domain") or None
        column = next((column for column in _CLASSES if column in row), None)
        if alone and column is None:
            raise JobError(f"{path} has no column 'emotion' but {', '.join(row)}: add it; the source needs labels")
        emotion = None if column is None or is_unlabelled(row[column]) else row[column]
        if emotion is None and same_domain(domain, source):
            raise JobError(f"{path}, row {number} of the source has no {column}: complete it, or remove the row")
        description = (domain, emotion, row.get("subject") or None, _split(f"{path}, row {number}", row, name))
        if name in listed:
            if listed[name] != description:
                raise JobError(
                    f"{path}, row {number}: {name} differs from an earlier row of the same image: correct the table"
                )
            continue
        listed[name] = description
        yield ImageEntry(printable(name), os.path.join(path.parent, name), *description)


def _split(where: str, row: dict[str, str], name: str) -> str | None:
    """Return the split by the column `split` (or `usage`, as in FER2013), or else by the folders of the path."""
    column = next((column for column in ("split", "usage") if column in row), None)
    return split_of_folders(_folders(name)) if column is None else read_split(row[column], where)


def _file_name(folder: Path, name: str) -> str:
    """Return the path of an image as the file system spells it.

    A table from Windows has backslashes, and one from macOS may use another form of Unicode than the disk.
    """
    if "\\" in name and not _exists(folder, name):
        name = name.replace("\\", "/")
    if not name.isascii() and not _exists(folder, name):
        forms = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
        name = next((form for form in forms if _exists(folder, form)), name)
    return os.path.normpath(name)  # ./1.jpg and 1.jpg are one image


def _exists(folder: Path, name: str) -> bool:
    try:
        return os.path.lexists(os.path.join(folder, name))
    except ValueError:  # NUL
        return False


def _folders(name: str) -> list[str]:
    """Return the folders of a relative path; none for an absolute path, which also contains the user's own folders."""
    return [] if os.path.isabs(name) else [part for part in name.split("/")[:-1] if part != ".."]


def read_table(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a CSV file (comma, semicolon or tab) as (line number, values by column).

    Names of columns are compared without case and spaces. Raises JobError when the file cannot be read, or one of the
    `columns` is missing or empty.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would block forever
            raise JobError(f"{path} is not a plain file: give the path of the table")
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
        raise JobError(f"{path} is not text in UTF-8: save it in UTF-8") from None
    except (csv.Error, ValueError) as error:  # ValueError: a path that contains NUL
        raise JobError(f"{path} is not a CSV table ({error}): correct it") from None
    except OSError as error:
        raise JobError(f"cannot read {path} ({error.strerror}): give the path of the table") from None


def option_path(root: str, path: str) -> Path:
    """Resolve the path of an option: relative to the working directory if it exists there, else to the root."""
    return Path(path) if os.path.exists(path) else Path(root, path)


def _table(root: Path, table: str | None) -> Path:
    if table is not None:
        return option_path(str(root), table)
    tables = sorted(
        path for path in root.iterdir() if path.suffix.lower() in (".csv", ".tsv") and not is_tool_file(path.name)
    )
    if len(tables) != 1:
        raise JobError(f"{root} has {len(tables)} tables (.csv): name one, --option table=FILE")
    return tables[0]


LAYOUT = file_layout("csv", find, table=None, classes=None)
