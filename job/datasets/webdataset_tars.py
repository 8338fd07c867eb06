"""Read WebDataset tars: `KEY.jpg` (or png, webp), `KEY.cls` if it is labelled, `KEY.json` with a field domain.

A .cls contains the name of an emotion, or an index, from 0, into the classes of `--option classes=NAME,NAME,...` or
else of the manifest beside the tars. Without either, numbers are refused, because every data set has its own order.
`--option classes=folders` takes the contents of the source's .cls, numbers too, as the names of the classes. A sample
without .cls, or with an empty one or -1, has no label. The fields subject and split of the JSON are optional. Where
samples have several images, `--option image=jpg` selects one by its ending.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from job.datasets.class_names import EMOTIONS, FOLDERS, OF_EMOTIONS, Classes, is_unlabelled, listed, split_names
from job.datasets.classes import label_of
from job.datasets.image_search import ImageEntry, Notes, walk
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
) -> Iterator[ImageEntry]:
    """Yield every sample that has an image. Raises JobError without tars; damage ends a tar and is noted as skipped."""
    names = split_names(classes) or _classes(Path(root))
    if classes == FOLDERS and not names:
        names = None
    tars = list(walk(root, notes, (".tar", *_ZIPPED), expected=(".json", ".csv", ".txt")))
    if not tars:
        raise JobError(f"{root} contains no .tar: give --root the folder of the tars")
    splits = {origin: split_within(origin.rpartition("/")[2].rpartition(".")[0]) for _, origin in tars}
    if "train" not in splits.values():
        splits = {}  # the names of the tars are not about splits
    for path, origin in tars:
        if not origin.lower().endswith(".tar"):
            raise JobError(f"{path} is compressed: decompress it, because images are read in place from the tar")
        for sample in read_samples(path, origin, notes, image):
            folders = (*origin.split("/")[:-1], *sample.folders)
            yield from _entries(path, sample, names, splits.get(origin), folders, notes)


def classes_of(root: str | None, options: dict[str, Any]) -> Classes:
    """Return the classes of the option. A list that contains an emotion means the seven emotions.

    Such a list only names the numbers in the .cls. Without the option, the classes are those of a manifest beside the
    tars, unless they are emotions.
    """
    option = options["classes"]
    if option == FOLDERS:
        return Classes(None)
    names = split_names(option) or (() if option == EMOTIONS else _classes(Path(root)))
    if not names or any(label_of(name) is not None for name in names):
        return OF_EMOTIONS
    return listed(names, f"--option classes={option}" if option else f"{root}/manifest.json")


def _entries(
    path: str, sample: Sample, names: tuple[str, ...] | None, named: str | None, folders: tuple[str, ...], notes: Notes
) -> Iterator[ImageEntry]:
    """Yield the image of a sample; its split is that of its JSON, or else of its tar's name, or else of its folders."""
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
                f"{path} contains class {text[:9]}, and no manifest names it: name the classes in their order from 0, "
                "--option classes=NAME,NAME,... (in a pair source_classes or target_classes), or take the numbers as "
                f"names, --option classes={FOLDERS}"
            )
        emotion = names[int(text)] if len(text) < 9 and int(text) < len(names) else text
    split = read_split(about.get("split"), f"{sample.name}, field split") or named or split_of_folders(folders)
    subject, domain = about.get("subject"), about.get("domain")
    yield ImageEntry(
        sample.name,
        (path, *sample.image),
        None if domain is None else _text(domain),
        emotion,
        None if subject in (None, "") else _text(subject),
        split,
    )


def _text(value: object) -> str:
    """Return a value of the JSON as text that UTF-8 can encode: lone surrogates are escaped."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _classes(root: Path) -> tuple[str, ...]:
    """Return the names of the classes in the manifest of this project's own shards; none without one."""
    try:
        return tuple(map(str, json.loads((root / "manifest.json").read_bytes())["class_names"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()


LAYOUT = file_layout("webdataset", find, classes_of=classes_of, classes=None, image=None)
