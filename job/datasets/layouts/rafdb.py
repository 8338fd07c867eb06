"""RAF-DB, basic emotions (Li, Deng & Du 2017): `EmoLabel/list_patition_label.txt` (spelt so), or class folders 1 to 7.

Gender is in `Annotation/manual/train_00001_manu_attri.txt`: five landmarks, then 0 man, 1 woman, 2 unsure, then race
and age. Class folders have no genders: `--option gender=FILE` is a table with the columns image (a path below the root,
a file name, or `train_00001.jpg` as in the list) and gender (a word, or a number as in the attribute files). The
official test split is kept and val is taken from train. Subjects are not known.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from job.datasets.classes import label_of, name_of
from job.datasets.gender import Genders
from job.datasets.image_search import ENDINGS, ImageEntry, Notes, printable, walk
from job.datasets.layout import file_layout
from job.datasets.split_names import split_of, split_of_folders
from job.system.errors import JobError

_LISTS = ("list_patition_label.txt", "list_partition_label.txt")
_GENDERS = {"0": "male", "1": "female", "2": "unsure"}


def find(
    root: str, notes: Notes, *, source: str | None, target: str | None, images: str, gender: str | None
) -> Iterator[ImageEntry]:
    """Yield every image; `images` is aligned (100 x 100 px) or original. The root is `basic` or a folder around it."""
    if images not in ("aligned", "original"):
        raise JobError(f"--option images={images}: expected aligned or original")
    listed = next((path for path, _ in walk(root, Notes(), _LISTS)), None)
    genders = Genders(root, gender, _GENDERS)
    needed = source is not None and not genders  # a pair (source is None) needs no genders
    if listed is None:
        yield from _class_folders(root, notes, genders, needed)
        return
    basic = Path(listed).parent.parent
    files = _by_stem(basic, images, notes)
    people = _by_stem(basic, "manual", Notes(), (".txt",))
    if needed and not people:
        raise _no_genders(f"{basic} has no Annotation/manual")
    for where, name, code in _read_list(listed):
        stem = name.rpartition(".")[0]
        split = split_of(stem.partition("_")[0])
        if split is None:
            raise JobError(f"{where}: {name[:80]!r} is not of the form train_00001.jpg")
        path = files.get(stem + "_aligned") or files.get(stem)
        if path is None:
            notes.skip(printable(name), f"listed in {os.path.basename(listed)}, but missing")
            continue
        origin = printable(os.path.relpath(path, root).replace(os.sep, "/"))
        person = genders.of(origin, stem, stem + ".jpg") or _gender(people.get(stem + "_manu_attri"))
        yield ImageEntry(origin, path, person, name_of("rafdb", code), None, split)


def _read_list(path: str) -> Iterator[tuple[str, str, str]]:
    """Yield (file and line, name of the image, number of the emotion) of each line such as `train_00001.jpg 5`.

    Blanks, tabs, commas and semicolons separate columns; a header and columns after the second are ignored. Raises
    JobError for a line of another form, or when the file cannot be read.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise JobError(f"cannot read {path} ({error}): extract it again from RAF-DB's archive") from None
    for number, line in enumerate(lines, 1):
        cells = [cell.strip('"') for cell in re.split(r"[\s,;]+", line.strip())]
        if cells == [""]:
            continue
        name, code = cells[0].replace("\\", "/").rpartition("/")[2], cells[1] if len(cells) > 1 else ""
        if re.fullmatch(r"[0-9]{1,9}", code):
            yield f"{path}, line {number}", name, code
        elif number > 1 or any(map(str.isdigit, line)):
            raise JobError(f"{path}, line {number}: {line[:80]!r} is not of the form train_00001.jpg 5: correct it")


def _class_folders(root: str, notes: Notes, genders: Genders, needed: bool) -> Iterator[ImageEntry]:
    for path, origin in walk(root, notes, expected=(".csv", ".txt")):
        if needed:
            raise _no_genders(f"{root} has no EmoLabel/{_LISTS[0]}, and class folders have no genders")
        *folders, name = origin.split("/")
        code = folders[-1] if folders else ""
        split = split_of_folders(folders) or split_of(name.partition("_")[0])
        stem = name.rpartition(".")[0].removesuffix("_aligned")
        emotion = name_of("rafdb", code) if code.isdigit() else code if label_of(code) is not None else None
        yield ImageEntry(origin, path, genders.of(origin, stem, stem + ".jpg"), emotion, None, split)


def _no_genders(detail: str) -> JobError:
    return JobError(
        f"layout rafdb needs the gender of each image, and {detail}: --option gender=FILE, "
        "a table with the columns image and gender"
    )


def _by_stem(basic: Path, folder: str, notes: Notes, endings: tuple[str, ...] = ENDINGS) -> dict[str, str]:
    """Map the names (without ending) of files below any folder of that name to their paths."""
    return {
        origin.rpartition("/")[2].rpartition(".")[0]: path
        for path, origin in walk(basic, notes, endings, expected=(".txt",))
        if folder in origin.lower().split("/")[:-1]
    }


def _gender(path: str | None) -> str | None:
    """Read the gender on the sixth line of an attribute file; None when there is no such file or line."""
    if path is None:
        return None
    try:
        lines = Path(path).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return _GENDERS.get(lines[5].strip()) if len(lines) > 5 else None


LAYOUT = file_layout("rafdb", find, images="aligned", gender=None)
