"""Existing WebDataset tars: `KEY.jpg` (or png, webp), `KEY.cls` where it is labelled, `KEY.json` with a field domain.

A .cls holds an emotion's name, or a number, which counts from 0 the classes of `--option classes=NAME,NAME,...` or else
of the manifest beside the tars: without either numbers are refused, since every data set has an order of its own.
`--option classes=folders` takes what the .cls of the source hold, numbers too, as the names of the classes. A sample
without .cls, or with an empty one or -1, has no label. The fields subject and split of the JSON are used where they are
there.
"""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from job.datasets.class_names import EMOTIONS, FOLDERS, OF_EMOTIONS, Classes, is_unlabelled, listed, split_names
from job.datasets.classes import label_of
from job.datasets.image_search import ENDINGS, Found, Notes, printable, split_of, walk
from job.datasets.layout import file_layout
from job.system.errors import JobError

_MOST_BYTES = 1 << 20  # of a .json or .cls


def find(
    root: str, notes: Notes, *, source: str | None, target: str | None, classes: str | None = None
) -> Iterator[Found]:
    """Every sample that has an image. Damage ends a tar and is noted."""
    names = split_names(classes) or _classes(Path(root))
    if classes == FOLDERS and not names:
        names = None
    seen = False
    for path, origin in walk(root, notes, (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst")):
        if not origin.lower().endswith(".tar"):
            raise JobError(f"{path} is compressed: unpack it, its images are read from where they lie in the tar")
        seen = True
        yield from _samples(path, origin, names, notes)
    if not seen:
        raise JobError(f"{root} holds no .tar: give --root the folder of the tars")


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


def _samples(path: str, origin: str, names: tuple[str, ...] | None, notes: Notes) -> Iterator[Found]:
    key, sample = None, {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                if (folder, stem) != key:
                    yield from _sample(path, origin, key, sample, names, notes)
                    key, sample = (folder, stem), {}
                ending = ending.lower()
                if f".{ending}" in ENDINGS:
                    sample["image"] = (member.offset_data, member.size)
                elif ending in ("cls", "json") and member.size <= _MOST_BYTES:
                    sample[ending] = tar.extractfile(member).read()
            _check_end(path, tar.offset)
            yield from _sample(path, origin, key, sample, names, notes)
    except (tarfile.TarError, OSError, EOFError) as error:
        notes.skip(origin, f"damaged: {error}")


def _check_end(path: str, end: int) -> None:
    """Raise ReadError unless an empty block follows the last member: tarfile ends in silence where a tar was cut."""
    with open(path, "rb") as file:
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it was cut short, or has no end")


def _sample(path, origin, key, sample, names, notes) -> Iterator[Found]:
    if key is None or "image" not in sample:
        return
    name = printable(f"{origin}/{key[0]}/{key[1]}" if key[0] else f"{origin}/{key[1]}")
    try:
        about = json.loads(sample.get("json", b"{}"))
        if not isinstance(about, dict):
            raise ValueError("not a mapping")
    except (ValueError, RecursionError) as error:
        notes.skip(name, f"its .json cannot be read: {error}")
        return
    text = sample.get("cls", b"").decode("utf-8", "replace").strip()
    emotion = None if is_unlabelled(text) or text == "-1" else text
    if text.isascii() and text.isdigit() and names is not None:
        if not names:
            raise JobError(
                f"{path} holds class {text[:9]}, and no manifest says which that is: name them in their order from 0, "
                "--option classes=NAME,NAME,... (in a pair source_classes or target_classes), or take the numbers as "
                f"names, --option classes={FOLDERS}"
            )
        emotion = names[int(text)] if len(text) < 9 and int(text) < len(names) else text
    split, subject, domain = about.get("split"), about.get("subject"), about.get("domain")
    yield Found(
        name,
        (path, *sample["image"]),
        None if domain is None else _text(domain),
        emotion,
        None if subject in (None, "") else _text(subject),
        None if split is None else split_of(str(split)),
    )


def _text(value: object) -> str:
    """A value of the JSON as text that can be written anywhere: halves of characters are spelt out."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _classes(root: Path) -> tuple[str, ...]:
    """The names of the classes by the manifest of shards of our own; none where there is no such manifest."""
    try:
        return tuple(map(str, json.loads((root / "manifest.json").read_bytes())["class_names"]))
    except (OSError, ValueError, KeyError, TypeError):
        return ()


LAYOUT = file_layout("webdataset", find, classes_of=classes_of, classes=None)
