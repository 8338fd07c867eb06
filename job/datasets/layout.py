"""Define layouts: they list the records of a data set and read the pixels of a record."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from job.datasets.class_names import Classes, read_classes
from job.datasets.gender import find_with_genders
from job.vocabulary import EMOTIONS, UNLABELLED


class Record(NamedTuple):
    """One sample before it is written to a shard.

    `key` is unique within its domain and split; `label` indexes the class names, or is UNLABELLED where the data set
    has no label; `subject` is None when it is unknown; `origin` is the path (or recipe) of the pixels; `payload` is a
    picklable argument of the layout's `read`, or the location of a converted JPEG (job.shards.writing.convert).
    """

    key: str
    domain: str
    split: str
    label: int
    subject: str | None
    origin: str
    payload: Any = None

    @property
    def labelled(self) -> bool:
        return self.label != UNLABELLED


def _classes_of(root: str | None, options: dict[str, Any]) -> Classes:
    return read_classes(options.get("classes"))


@dataclass(frozen=True, slots=True)
class Layout:
    """A data set on disk, or a generator of one, as records.

    `records(root, seed, **options)` lists every record; `read(record, size)` returns its pixels as uint8 [H, W, 3] in
    RGB, of any size: the writer resizes and encodes both domains in exactly the same way. `options` holds the keyword
    arguments of `records` that a user may set, with their defaults. The type of a default is the type of the option;
    where the default is None it is text, or an integer if `numbers` lists it. Those in `newer` are left out of
    manifests while they are None: shards written before the option existed stay complete. `size` is the default edge of
    a shard's images in pixels.

    Layouts of files define `find(root, notes, **options)` instead: it yields an ImageEntry per image
    (job.datasets.image_search), which job.shards.writing converts and makes into records. `classes_of(root, options)`
    returns the classes (job.datasets.class_names).
    """

    name: str
    class_names: Sequence[str]
    records: Callable[..., list[Record]] | None = None
    read: Callable[[Record, int], np.ndarray] | None = None
    needs_root: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    numbers: Sequence[str] = ()
    newer: Sequence[str] = ()
    size: int = 64
    find: Callable[..., Iterable] | None = None
    classes_of: Callable[[str | None, dict[str, Any]], Classes] = _classes_of


# The options of every layout of files, with their defaults.
NO_SOURCE = "none"  # `--source none`: shards of a target alone, for a method without source images
OPTIONS = {"source": "male", "target": "female", "val": 0.1, "test": 0.15, "subjects": True, "folds": None}
# A table of genders beside any of them (job.datasets.gender), unless the layout reads such a table itself.
GENDER = "gender"


def file_layout(
    name: str, find, *, size: int = 64, needs_root: bool = True, numbers=(), classes_of=_classes_of, **options: Any
) -> Layout:
    """Return a layout of images in files; `options` are its own options, besides OPTIONS and GENDER."""
    added = () if GENDER in options else (GENDER,)
    return Layout(
        name,
        EMOTIONS,
        needs_root=needs_root,
        options={**OPTIONS, **options, **dict.fromkeys(added)},
        numbers=("folds", *numbers),
        newer=("folds", *added),
        size=size,
        find=partial(find_with_genders, find) if added else find,
        classes_of=classes_of,
    )
