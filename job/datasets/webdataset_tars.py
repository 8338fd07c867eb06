"""Existing WebDataset tars: `KEY.jpg` (or png, webp), `KEY.cls` where it is labelled, `KEY.json` with a field domain.

A .cls holds an emotion's name, or a number, which counts from 0 the classes of `--option classes=NAME,NAME,...` or else
of the manifest beside the tars: without either numbers are refused, since every data set has an order of its own.
`--option classes=folders` takes what the .cls of the source hold, numbers too, as the names of the classes. A sample
without .cls, or with an empty one or -1, has no label. The fields subject and split of the JSON are used where they are
there. Where samples have several images, `--option image=jpg` says by its ending which is the picture.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from job.datasets.class_names import EMOTIONS, FOLDERS, OF_EMOTIONS, Classes, is_unlabelled, listed, split_names
from job.datasets.classes import label_of
from job.datasets.image_search import Found, Notes, walk
from job.datasets.layout import file_layout
from job.datasets.split_names import read_split, split_of_folders, split_within
from job.datasets.tar_samples import Sample, read_samples
from job.system.errors import JobError

_ZIPPED = (".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tbz", ".tar.zst", ".tzst", ".tar.lz4", ".tar.z")


def find(
    root: str,
    notes: Notes,
    *,
    source: str | None,
    target: str | None,
    classes: str | None = None,
    image: str | None = None,
) -> Iterator[Found]:
    """Every sample that has an image. Damage ends a tar and is noted."""
    names = split_names(classes) or _classes(Path(root))
    if classes == FOLDERS and not names:
        names = None
    tars = list(walk(root, notes, (".tar", *_ZIPPED), expected=(".json", ".csv", ".txt")))
    if not tars:
        raise JobError(f"{root} holds no .tar: give --root the folder of the tars")
    splits = {origin: split_within(origin.rpartition("/")[2].rpartition(".")[0]) for _, origin in tars}
    if "train" not in splits.values():
        splits = {}  # then the names of tars speak of something else
    for path, origin in tars:
        if not origin.lower().endswith(".tar"):
            raise JobError(f"{path} is compressed: unpack it, its images are read from where they lie in the tar")
        for sample in read_samples(path, origin, notes, image):
            folders = (*origin.split("/")[:-1], *sample.folders)
            yield from _found(path, sample, names, splits.get(origin), folders, notes)


def classes_of(root: str | None, options: dict[str, Any]) -> Classes:
    """The classes of the option. A list may also name numbers: one that holds an emotion means the seven emotions.

    Without the option, a manifest beside the tars whose classes are no emotions names the classes.
    """
    option = options["classes"]
    if option == FOLDERS:
        return Classes(None)
    names = split_names(option) or (() if option == EMOTIONS else _classes(Path(root)))
    if not names or any(label_of(name) is not None for name in names):
        return OF_EMOTIONS
    return listed(names, f"--option classes={option}" if option else f"{root}/manifest.json")


def _found(
    path: str, sample: Sample, names: tuple[str, ...] | None, named: str | None, folders: tuple[str, ...], notes: Notes
) -> Iterator[Found]:
    """The image of a sample; its split is that of its JSON, or else of its tar's name or of the folders around it."""
    try:
        about = json.loads(sample.json or b"{}")
        if not isinstance(about, dict):
            raise ValueError("not a mapping")
    except (ValueError, RecursionError) as error:
        notes.skip(sample.name, f"its .json cannot be read: {error}")
        return
    text = (sample.cls or b"").decode("utf-8", "replace").strip()
    emotion = None if is_unlabelled(text) or text == "-1" else text
    if text.isascii() and text.isdigit() and names is not None:
        if not names:
            raise JobError(
                f"{path} holds class {text[:9]}, and no manifest says which that is: name them in their order from 0, "
                "--option classes=NAME,NAME,... (in a pair source_classes or target_classes), or take the numbers as "
                f"names, --option classes={FOLDERS}"
            )
        emotion = names[int(text)] if len(text) < 9 and int(text) < len(names) else text
    split = read_split(about.get("split"), f"{sample.name}, field split") or named or split_of_folders(folders)
    subject, domain = about.get("subject"), about.get("domain")
    yield Found(
        sample.name,
        (path, *sample.image),
        None if domain is None else _text(domain),
        emotion,
        None if subject in (None, "") else _text(subject),
        split,
    )


def _text(value: object) -> str:
    """A value of the JSON as text that can be written anywhere: halves of characters are spelt out."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _classes(root: Path) -> tuple[str, ...]:
    """The names of the classes by the manifest of shards of our own; none where there is no such manifest."""
    try:
        return tuple(map(str, json.loads((root / "manifest.json").read_bytes())["class_names"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()


LAYOUT = file_layout("webdataset", find, classes_of=classes_of, classes=None, image=None)
