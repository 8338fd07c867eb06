"""The layout `csv`: a table with a header and a row for each image.

The columns are path, domain and emotion (or class, or label), and optionally subject and split, in any order and case;
other columns are ignored. The emotion may be empty in rows of the target. Paths are relative to the folder of the
table, or absolute. `--option table=FILE` names the table unless it is the only one below the root. In a pair the
columns domain and emotion are optional.
"""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from job.datasets.class_names import is_unlabelled
from job.datasets.file_kinds import is_tool_file
from job.datasets.image_search import ImageEntry, Notes, printable, same_domain
from job.datasets.layout import file_layout
from job.datasets.read_table import option_path, read_table
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
