"""Read parquet files in the format of Hugging Face data sets: a column of images, one of labels, one of the domain.

Columns are found by their usual names (image; emotion, class, label, labels; domain, gender, sex; subject, person,
actor; split), or named by the options `image`, `label`, `domain`, `subject` and `split`. Numbers mean the names of
the schema's ClassLabel, or else those of `--option classes=NAME,NAME,...` from 0; -1 is no label. The split is that of
the column, or of the file's name (`train-00000-of-00004.parquet`) or folders.
"""

from collections.abc import Iterator

from job.datasets.class_names import is_unlabelled, split_names
from job.datasets.image_search import ImageEntry, Notes, ParquetImage, walk
from job.datasets.layout import file_layout
from job.datasets.parquet_files import ENDINGS, Columns, read_columns, read_rows
from job.datasets.split_names import read_split, split_of_folders, split_within
from job.system.errors import JobError

_USUAL = {
    "label": ("emotion", "class", "label", "labels"),
    "domain": ("domain", "gender", "sex"),
    "subject": ("subject", "subject_id", "person", "person_id", "actor", "actor_id"),
    "split": ("split",),
}


def find(
    root: str,
    notes: Notes,
    *,
    source: str | None,
    target: str | None,
    image: str | None,
    label: str | None,
    domain: str | None,
    subject: str | None,
    split: str | None,
    classes: str | None = None,
) -> Iterator[ImageEntry]:
    """Yield every row of every file. Raises JobError without files, and for a column that a file lacks."""
    wanted = {"label": label, "domain": domain, "subject": subject, "split": split}
    files = list(walk(root, notes, ENDINGS, expected=(".json", ".md", ".txt", ".csv")))
    if not files:
        raise JobError(f"{root} contains no .parquet: give --root the folder of the files")
    listed = split_names(classes)
    for path, origin in files:
        columns = read_columns(path)
        pictures = columns.image(path, image)
        chosen = {role: _column(path, columns, role, name) for role, name in wanted.items()}
        if source is not None and chosen["domain"] is None:
            raise JobError(
                f"{path} has no column of the domain but {', '.join(columns.plain) or 'no other'}: name it, "
                "--option domain=COLUMN, or give a table, --option gender=FILE"
            )
        *folders, name = origin.split("/")
        of_file = split_within(name.rpartition(".")[0]) or split_of_folders(folders)
        fields = [column for column in chosen.values() if column]
        names = (f"{pictures}.path",) if pictures in columns.structs else ()
        for row, values in enumerate(read_rows(path, (*fields, *names))):
            words = {role: _word(values, column, columns, listed) for role, column in chosen.items()}
            held = (values.get(pictures) or {}).get("path") or ""
            photo = held.replace("\\", "/").rpartition("/")[2]
            yield ImageEntry(
                f"{origin}/{row:07d}/{photo}" if photo else f"{origin}/{row:07d}",
                ParquetImage(path, pictures, row),
                words["domain"],
                None if is_unlabelled(words["label"]) or words["label"] == "-1" else words["label"],
                words["subject"],
                read_split(words["split"], f"{path}, row {row}, column {chosen['split']}") or of_file,
            )


def _column(path: str, columns: Columns, role: str, wanted: str | None) -> str | None:
    """Return the column of a role, None where the file has none under a usual name. Raises JobError."""
    if wanted is None:
        by_name = {name.casefold(): name for name in columns.plain}
        return next((by_name[name] for name in _USUAL[role] if name in by_name), None)
    if wanted not in columns.plain:
        raise JobError(f"--option {role}={wanted}: {path} has no such column of words or numbers: {columns.plain}")
    return wanted


def _word(values: dict, column: str | None, columns: Columns, listed: tuple[str, ...]) -> str | None:
    """Return a value in words: numbers by the names of the schema, or those of the option `classes`."""
    value = None if column is None else values.get(column)
    if column is None or value is None:
        return None
    names = columns.class_names.get(column) or (listed if column in _USUAL["label"] else ())
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    return str(value).encode("utf-8", "backslashreplace").decode() or None


LAYOUT = file_layout("parquet", find, image=None, label=None, domain=None, subject=None, split=None, classes=None)
