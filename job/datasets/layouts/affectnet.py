"""AffectNet (Mollahosseini, Hasani & Mahoor 2017), in each of its usual forms.

* Lists: `training.csv` and `validation.csv` (`subDirectory_filePath,face_x,...,expression,...`), images anywhere below
  the root. `--option images=face` crops to the box in the list, `whole` (the default) does not.
* The smaller release: `train_set/images/0.jpg` with `train_set/annotations/0_exp.npy`.
* YOLO: `train/images/x.png` with `train/labels/x.txt`, whose first number indexes the names in `data.yaml`.
* Class folders, by number (0 neutral ... 7 contempt) or by name.

Validation images become val. There are no genders: `--option gender=FILE`. Subjects are not known.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import yaml

from job.datasets.classes import label_of, name_of
from job.datasets.gender import require_genders
from job.datasets.image_search import FaceBox, ImageEntry, Location, Notes, walk
from job.datasets.layout import file_layout
from job.datasets.read_table import read_table
from job.datasets.split_names import split_of_folders
from job.system.errors import JobError

_PATH = "subdirectoryfilepath"  # as job.datasets.read_table simplifies names
_LISTS = {"training.csv": "train", "validation.csv": "val"}
_BOX = ("facex", "facey", "facewidth", "faceheight")


def find(root: str, notes: Notes, *, source: str | None, target: str | None, images: str) -> Iterator[ImageEntry]:
    """Yield every image that has an annotation, a label file or a class folder. Raises JobError outside a pair."""
    require_genders("affectnet", source)
    if images not in ("whole", "face"):
        raise JobError(f"--option images={images}: expected whole or face")
    lists = [(path, origin) for path, origin in walk(root, Notes(), tuple(_LISTS)) if _split_of(path)]
    found = walk(root, notes, expected=(".csv", ".npy", ".txt", ".yaml"))
    if lists:
        yield from _listed(lists, {origin: path for path, origin in found}, notes, images == "face")
        return
    for path, origin in found:
        folders = origin.split("/")[:-1]
        emotion = _annotated(Path(path)) or _of_folders(folders)
        split = split_of_folders(folder for folder in folders if folder != "images")
        yield ImageEntry(origin, path, None, emotion, None, split)


def _listed(lists: list[tuple[str, str]], by_origin: dict[str, str], notes: Notes, face: bool) -> Iterator[ImageEntry]:
    """Yield the images of the lists; a listed path is the last two parts of the path of an image."""
    by_end = {"/".join(origin.split("/")[-2:]): origin for origin in by_origin}
    listed_origins = set()
    for table, name in lists:
        split = _split_of(table)
        for number, row in read_table(Path(table), (_PATH, "expression")):
            listed = row[_PATH].replace("\\", "/")
            origin = listed if listed in by_origin else by_end.get("/".join(listed.split("/")[-2:]))
            if origin is None:
                notes.skip(listed, f"listed in {name}, row {number}, but missing")
                continue
            listed_origins.add(origin)
            location: Location = by_origin[origin]
            if face:
                location = _box(by_origin[origin], row, f"{table}, row {number}")
            yield ImageEntry(origin, location, None, name_of("affectnet", row["expression"]), None, split)
    if len(by_origin) > len(listed_origins):
        notes.left_out["images that no list names"] += len(by_origin) - len(listed_origins)


def _split_of(table: str) -> str | None:
    return _LISTS.get(Path(table).name.lower())


def _box(path: str, row: dict[str, str], where: str) -> FaceBox:
    try:
        left, top, width, height = (int(float(row[column])) for column in _BOX)
    except (KeyError, ValueError):
        raise JobError(
            f"{where} has no numbers in face_x, face_y, face_width, face_height: use --option images=whole"
        ) from None
    return FaceBox(path, left, top, left + width, top + height)


def _annotated(path: Path) -> str | None:
    """Return the emotion of the annotation beside an image, None without one."""
    if path.parent.name != "images":
        return None
    annotation = path.parent.parent / "annotations" / f"{path.stem}_exp.npy"
    label = path.parent.parent / "labels" / f"{path.stem}.txt"
    try:
        if annotation.exists():
            return name_of("affectnet", int(np.load(annotation, allow_pickle=False)))
        if label.exists():
            number = int(label.read_text(encoding="ascii").split()[0])
            return _yolo_names(str(path.parent.parent))[number]
    except (OSError, ValueError, IndexError, TypeError):
        return "of an unreadable annotation"
    return None


@lru_cache(maxsize=8)
def _yolo_names(folder: str) -> list[str]:
    """Return the names in data.yaml, in the folder of a split or around it. Raises JobError without them."""
    for place in (Path(folder), Path(folder).parent):
        try:
            names = yaml.safe_load((place / "data.yaml").read_text(encoding="utf-8"))["names"]
            return [str(name) for name in (names.values() if isinstance(names, dict) else names)]
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
            continue
    raise JobError(f"{folder} has labels, but there is no data.yaml with names beside or above it: restore it")


def _of_folders(folders: list[str]) -> str | None:
    """Return the emotion of the nearest folder that is a number or the name of an emotion."""
    for folder in reversed(folders):
        if folder.isascii() and folder.isdigit():
            return name_of("affectnet", folder)
        if label_of(folder) is not None or folder.casefold() == "contempt":
            return folder
    return None


LAYOUT = file_layout("affectnet", find, images="whole")
