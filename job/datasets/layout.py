"""What a layout yields: the records of a dataset, and how to read one as pixels."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from job.datasets.class_names import Classes, read_classes
from job.vocabulary import EMOTIONS, UNLABELLED


class Record(NamedTuple):
    """One sample before it is written to a shard.

    `key` is unique within its domain and split; `label` indexes the class names and is UNLABELLED where the data set
    has none; `subject` is None where it is not known; `origin` is the path (or the recipe) that the pixels come from;
    `payload` is whatever the layout's `read` needs, and is picklable, or where the JPEG of an image on disk lies
    (job.shards.writing.convert).
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
    """A dataset on disk (or a generator) seen as records.

    `records(root, seed, **options)` lists every record; `read(record, size)` returns its pixels as uint8 [H, W, 3] in
    RGB, of any size: the writer resizes and encodes both domains in exactly the same way. `options` names the keyword
    arguments of `records` that a user may set, with their defaults, which say of what kind they are; one of None is a
    text, or a number where `numbers` names it. `size` is the edge of a shard's images in pixels unless the user asks
    for another.

    Data sets of files give `find(root, notes, **options)` in place of both: it yields the images as they are described
    on disk (job.datasets.image_search); job.shards.writing converts them and makes records of them. `classes_of(root,
    options)` says which words for a class count, job.datasets.class_names.
    """

    name: str
    class_names: Sequence[str]
    records: Callable[..., list[Record]] | None = None
    read: Callable[[Record, int], np.ndarray] | None = None
    needs_root: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    numbers: Sequence[str] = ()
    size: int = 64
    find: Callable[..., Iterable] | None = None
    classes_of: Callable[[str | None, dict[str, Any]], Classes] = _classes_of


# What every layout of files lets the user set, with the defaults.
OPTIONS = {"source": "male", "target": "female", "val": 0.1, "test": 0.15, "subjects": True}


def file_layout(
    name: str, find, *, size: int = 64, needs_root: bool = True, numbers=(), classes_of=_classes_of, **options: Any
) -> Layout:
    """A layout of images in files; `options` are its own, beside OPTIONS."""
    return Layout(
        name,
        EMOTIONS,
        needs_root=needs_root,
        options={**OPTIONS, **options},
        numbers=numbers,
        size=size,
        find=find,
        classes_of=classes_of,
    )
