"""Draw a contact sheet of shards: images as the network gets them, side by side.

Where faces were aligned, the detector's box and landmarks are drawn on them.
"""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from job.shards.manifest import Manifest, load_manifest
from job.shards.reading.decode import decode_or_fail
from job.shards.reading.open_shards import OpenShards
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.tar_index import Shard, members
from job.system.errors import JobError
from job.system.files import atomic_path, make_folder, writing
from job.vocabulary import UNLABELLED

_COLUMNS = 8
_GAP = 2  # pixels between images
_NAMES = 84  # pixels for the names of classes, more if the longest needs more
_TITLE = 16  # pixels for the title of a block
_MAX_SAMPLES = 4000  # samples read at most
_MAX_ROWS = 300  # classes drawn at most: a JPEG has at most 65,535 pixels per edge
_BOX, _POINT = (255, 210, 0), (0, 230, 118)  # colours
Marks = tuple[np.ndarray, np.ndarray]  # outline [4, 2] and landmarks [5, 2], as shares of the edge
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def check_sheet(sheet: Path) -> None:
    """Raise JobError when the name of a contact sheet does not end as that of an image."""
    if sheet.suffix.lower() not in FORMATS:
        raise JobError(f"--sheet {sheet}: give the name of an image, such as sheet.png")


def write_sheet(path: str | Path, sheet: Path, *, allow_pipe: bool = False) -> None:
    """Draw the contact sheet of the shards at `path` into a file, atomically.

    Raises JobError when it cannot be written, or an image cannot be decoded.
    """
    check_sheet(sheet)
    manifest = load_manifest(path, allow_pipe=allow_pipe)
    store = ShardStore(path, allow_pipe=allow_pipe)
    image = draw_sheet(manifest, store)
    store.close()
    save_sheet(image, sheet)


def save_sheet(image: Image.Image, sheet: Path) -> None:
    """Write a sheet to a file, atomically, in the format of its name. Raises JobError when it cannot be written."""
    make_folder("--sheet", sheet.parent)
    with writing(f"--sheet {sheet}", "choose another place, or make room"), atomic_path(sheet) as partial:
        image.save(partial, format=FORMATS[sheet.suffix.lower()])


def draw_sheet(manifest: Manifest, store: ShardStore) -> Image.Image:
    """Draw a contact sheet with a block of columns for every domain and a row for every class.

    Each block shows the first 300 classes of the domain's first split with labels (of the target usually test); without
    such a split, images fill any row.
    """
    size, classes = manifest.size, min(len(manifest.class_names), _MAX_ROWS)
    cell = max(size, 32) + _GAP  # small images are spaced out, not enlarged, to show the stored pixels
    block = _COLUMNS * cell
    pen, font = ImageDraw.Draw(Image.new("RGB", (1, 1))), ImageFont.load_default()
    edge = max(_NAMES, *(int(pen.textlength(name, font)) + 2 * _GAP + 2 for name in manifest.class_names))
    sheet = Image.new("RGB", (edge + len(manifest.domains) * (block + 4 * _GAP), _TITLE + classes * cell), "white")
    pen = ImageDraw.Draw(sheet)
    for row, name in enumerate(manifest.class_names[:classes]):
        pen.text((2, _TITLE + row * cell + size // 2 - 5), name, "black", font)
    for index, domain in enumerate(domain for domain, splits in manifest.domains.items() if splits):
        left = edge + index * (block + 4 * _GAP)
        split, labelled = next(
            ((split, True) for split in manifest.domains[domain] if manifest.labels(domain, split)),
            (next(iter(manifest.domains[domain])), False),
        )
        pen.text((left, 2), f"{domain} {split}" + ("" if labelled else " (no labels: any row)"), "black", font)
        for row, images in enumerate(_pick(manifest, store, domain, split, labelled)):
            for column, image in enumerate(images):
                sheet.paste(Image.fromarray(image), (left + column * cell, _TITLE + row * cell))
    return sheet


def _pick(manifest: Manifest, store: ShardStore, domain: str, split: str, labelled: bool) -> list[list[np.ndarray]]:
    """Return the first images, uint8 [S, S, 3], of each class; without labels, images in turn."""
    shards = OpenShards(manifest, domain, split, store, labelled=labelled, capacity=4, partly=True)
    rows: list[list[np.ndarray]] = [[] for _ in manifest.class_names]
    seen = 0
    for number, info in enumerate(shards.infos):
        faces = _faces(shards[number]) if manifest.alignment is not None else {}
        for i in range(info.samples):
            label = int(shards[number].index.labels[i]) if labelled else seen % len(rows)
            seen += 1
            if label == UNLABELLED:
                continue
            if len(rows[label]) < _COLUMNS:
                image = np.empty((manifest.size, manifest.size, 3), np.uint8)
                decode_or_fail(shards[number], i, image)
                rows[label].append(_marked(image, faces.get(shards[number].key(i))))
        if seen >= _MAX_SAMPLES or all(len(row) == _COLUMNS for row in rows):
            break
    return rows


def _faces(shard: Shard) -> dict[str, Marks]:
    """Return outline and landmarks of the aligned faces of a shard, by the keys of the samples."""
    found: dict[str, Marks] = {}
    for name, content in members(shard):
        if name.endswith(".json"):
            with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):  # --verify reports damage
                face = json.loads(content).get("face")
                outline, points = (np.asarray(face[part], float).reshape(-1, 2) for part in ("outline", "points"))
                found[name.removesuffix(".json")] = outline, points
    return found


def _marked(image: np.ndarray, face: Marks | None) -> np.ndarray:
    """Draw a face's outline and landmarks on an image uint8 [S, S, 3]."""
    if face is None:
        return image
    picture = Image.fromarray(image)
    pen, size = ImageDraw.Draw(picture), image.shape[0]
    outline, points = ([tuple(point) for point in (part * size - 0.5).tolist()] for part in face)
    pen.line([*outline, *outline[:1]], _BOX)
    radius = max(0.5, size / 96)
    for x, y in points:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), _POINT)
    return np.asarray(picture)
