"""Read CSV tables with a header: rows of images, genders, votes."""

import csv
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from job.datasets.image_search import simple
from job.system.errors import JobError


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
