"""A contact sheet of shards: what the network will see, side by side."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from job.shards.manifest import Manifest, load_manifest
from job.shards.reading.decode import decode_or_fail
from job.shards.reading.open_shards import OpenShards
from job.shards.reading.shard_cache import ShardStore
from job.system.errors import JobError
from job.system.files import atomic_path, make_folder, writing
from job.vocabulary import UNLABELLED

_COLUMNS = 8
_GAP = 2  # pixels between the pictures of a contact sheet
_NAMES = 84  # pixels for the class names, or as many as the longest takes
_TITLE = 16
_LOOK = 4000  # samples looked at for a contact sheet
_ROWS = 300  # classes shown at most: JPEG ends at 65,535 pixels
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def check_sheet(sheet: Path) -> None:
    """Raise JobError where the name of a contact sheet is not that of a picture."""
    if sheet.suffix.lower() not in _FORMATS:
        raise JobError(f"--sheet {sheet}: give the name of a picture, such as sheet.png")


def write_sheet(path: str | Path, sheet: Path, *, allow_pipe: bool = False) -> None:
    """Draw the contact sheet of the shards at `path` into a file, whole or not at all.

    Raises JobError where it cannot be written, or an image cannot be decoded.
    """
    check_sheet(sheet)
    manifest = load_manifest(path, allow_pipe=allow_pipe)
    store = ShardStore(path, allow_pipe=allow_pipe)
    picture = draw_sheet(manifest, store)
    store.close()
    make_folder("--sheet", sheet.parent)
    with writing(f"--sheet {sheet}", "choose another place, or make room"), atomic_path(sheet) as partial:
        picture.save(partial, format=_FORMATS[sheet.suffix.lower()])


def draw_sheet(manifest: Manifest, store: ShardStore) -> Image.Image:
    """Contact sheet: for every domain a block of columns, for every class a row.

    Shows the first 300 classes of the first split that has labels, which of the target is the test split; pictures
    without labels fill any row.
    """
    size, classes = manifest.size, min(len(manifest.class_names), _ROWS)
    cell = max(size, 32) + _GAP  # small pictures are spaced out rather than enlarged: one sees what is stored
    block = _COLUMNS * cell
    pen, font = ImageDraw.Draw(Image.new("RGB", (1, 1))), ImageFont.load_default()
    edge = max(_NAMES, *(int(pen.textlength(name, font)) + 2 * _GAP + 2 for name in manifest.class_names))
    sheet = Image.new("RGB", (edge + len(manifest.domains) * (block + 4 * _GAP), _TITLE + classes * cell), "white")
    pen = ImageDraw.Draw(sheet)
    for row, name in enumerate(manifest.class_names[:classes]):
        pen.text((2, _TITLE + row * cell + size // 2 - 5), name, "black", font)
    for place, domain in enumerate(domain for domain, splits in manifest.domains.items() if splits):
        left = edge + place * (block + 4 * _GAP)
        split, labelled = next(
            ((split, True) for split in manifest.domains[domain] if manifest.labels(domain, split)),
            (next(iter(manifest.domains[domain])), False),
        )
        pen.text((left, 2), f"{domain} {split}" + ("" if labelled else " (no labels: any row)"), "black", font)
        for row, pictures in enumerate(_pick(manifest, store, domain, split, labelled)):
            for column, picture in enumerate(pictures):
                sheet.paste(Image.fromarray(picture), (left + column * cell, _TITLE + row * cell))
    return sheet


def _pick(manifest: Manifest, store: ShardStore, domain: str, split: str, labelled: bool) -> list[list[np.ndarray]]:
    """The first pictures of each class (of any, where there are no labels), uint8 [S, S, 3]."""
    shards = OpenShards(manifest, domain, split, store, labelled=labelled, capacity=4, partly=True)
    rows: list[list[np.ndarray]] = [[] for _ in manifest.class_names]
    looked = 0
    for number, info in enumerate(shards.infos):
        for i in range(info.samples):
            label = int(shards[number].index.labels[i]) if labelled else looked % len(rows)
            looked += 1
            if label == UNLABELLED:
                continue
            if len(rows[label]) < _COLUMNS:
                picture = np.empty((manifest.size, manifest.size, 3), np.uint8)
                decode_or_fail(shards[number], i, picture)
                rows[label].append(picture)
        if looked >= _LOOK or all(len(row) == _COLUMNS for row in rows):
            break
    return rows
