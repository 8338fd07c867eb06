"""Find the images for `predict`: files, folders, a list on stdin, shards, tables of a parquet file."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from job.datasets.image_search import Notes, walk
from job.datasets.parquet_files import count_rows, read_columns, read_images
from job.shards.manifest import NAME, Manifest, is_remote, load_manifest, part_of_shards
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.whole_split import read_split
from job.shards.writing.left_out import count_lines
from job.system.echo import echo
from job.system.errors import JobError

STDIN = "-"


class Picture(NamedTuple):
    """An image to predict: its name in the output, and the path of its file, its encoded bytes, or its pixels.

    Pixels are uint8 [S, S, 3] as a shard stores them: cropped, resized and compressed already.
    """

    name: str | Path
    content: Path | bytes | np.ndarray


class Images(Protocol):
    """Images that can be read more than once, and how many there are."""

    @property
    def total(self) -> int: ...

    def __iter__(self) -> Iterator[Picture]: ...


class Files:
    """Image files."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    @property
    def total(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[Picture]:
        return (Picture(path, path) for path in self._paths)


class Shards:
    """All images of a folder or URL of shards. Raises JobError unless they have `size` px and, if `gray`, no colour."""

    def __init__(self, place: str, size: int, gray: bool) -> None:
        self._place, self._manifest = place, load_manifest(place)
        if self._manifest.size != size:
            raise JobError(
                f"{place} does not match the checkpoint: its images have {self._manifest.size} px, and the model was "
                f"trained on {size} px"
            )
        if gray and not self._manifest.gray:
            raise JobError(f"{place} is in colour, and the model was trained without: write the shards with --gray")

    @property
    def total(self) -> int:
        return sum(self._manifest.samples(domain, split) for domain, split in _splits(self._manifest))

    def __iter__(self) -> Iterator[Picture]:
        store = ShardStore(self._place)
        try:
            for domain, split in _splits(self._manifest):
                for images, _, keys in read_split(self._manifest, store, domain, split, labelled=False):
                    for key, pixels in zip(keys, images.numpy(), strict=True):
                        yield Picture(f"{store.base}/{key}", pixels)
        finally:
            store.close()


class Parquet:
    """The images of a parquet file: a column of bytes, or of structs with `bytes` and `path` as Hugging Face writes it.

    Raises JobError when the file cannot be read or has no such column.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._column = read_columns(path).image(str(path))
        self._rows = count_rows(path)

    @property
    def total(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[Picture]:
        for name, content in read_images(self._path, self._column):
            yield Picture(f"{self._path}:{name}", content or b"")


def open_images(inputs: Iterable[str | Path], size: int, skipped: list[str], *, gray: bool = False) -> list[Images]:
    """Return the images of the inputs, in their order, for a model of images of `size` px, if `gray` without colour.

    An input is an image, a folder of images, a folder or URL of shards, a parquet file, or "-" for a list of paths on
    stdin. Append a line to `skipped` for each input that is missing and each entry of a folder that cannot be read.
    Raises JobError for shards and parquet files that cannot be used.
    """
    found: list[Images] = []
    paths: list[str | Path] = []  # of files and folders, gathered so that a long list is one part

    def flush() -> None:
        files = list(find_images(map(Path, paths), skipped))
        paths.clear()
        if files:
            found.append(Files(files))

    for given in inputs:
        text = str(given)
        if text == STDIN:
            paths += _listed()
        elif is_remote(text) or os.path.exists(os.path.join(text, NAME)):
            flush()
            found.append(Shards(text, size, gray))
        elif text.lower().endswith(".parquet") and os.path.isfile(text):
            flush()
            found.append(Parquet(Path(text)))
        else:
            paths.append(given)
    flush()
    return found


def no_images(inputs: Iterable[str | Path]) -> str:
    """Explain that there is nothing to predict."""
    return (
        f"no image under {', '.join(map(str, inputs))}: expected files that end in .jpg, .png, .webp, .tif, ..., "
        "or image files without an ending"
    )


def find_images(inputs: Iterable[Path], skipped: list[str]) -> Iterator[Path]:
    """Yield the files among `inputs` and, in a fixed order, the images in the folders among them.

    Append a line to `skipped` for each input that is missing and each entry of a folder that cannot be read.
    """
    for path in map(Path, inputs):
        if os.path.isdir(path):
            notes, found = Notes(), False
            try:
                for file, _ in walk(path, notes):
                    found = True
                    yield Path(file)
            except JobError as error:  # the folder itself cannot be listed
                skipped.append(str(error))
            skipped += [f"{path / below}: {reason}" for below, reason in notes.skipped]
            if not found and (part := part_of_shards(path)):
                skipped.append(part)
                continue
            for line in count_lines(notes.left_out):
                echo(f"left out below {path}: {line}", err=True)
        elif path.suffix == ".tar" and (part := part_of_shards(path)):
            skipped.append(part)
        elif os.path.exists(path):
            yield path
        else:
            skipped.append(f"no image or folder at {path}")


def _listed() -> list[Path]:
    """Read paths from stdin, one a line, or separated by NUL as `find -print0` writes them."""
    content = sys.stdin.buffer.read()
    lines = content.split(b"\0") if b"\0" in content else content.splitlines()
    return [Path(os.fsdecode(line)) for line in lines if line.strip()]


def _splits(manifest: Manifest) -> list[tuple[str, str]]:
    return [(domain, split) for domain, splits in manifest.domains.items() for split in splits]
