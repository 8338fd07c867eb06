"""What is in a folder of shards: a table, a check of every byte, a contact sheet."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from job.data.cache import ShardStore
from job.data.decode import decode_or_fail
from job.data.manifest import Manifest, ShardInfo, load_manifest
from job.data.opened import OpenShards
from job.data.tar import member_names
from job.data.write_shard import sha256_of
from job.errors import JobError

_COLUMNS = 8
_GAP = 2  # pixels between the pictures of a contact sheet
_NAMES = 84  # pixels for the class names
_TITLE = 16
_LOOK = 4000  # samples looked at for a contact sheet


def inspect_shards(
    path: str | Path, *, verify: bool = False, sheet: str | Path | None = None, allow_pipe: bool = False
) -> str:
    """A table of samples per domain, split and class, with bytes and whether there are labels.

    With `verify`, every shard's sha256, every member and every image are checked; `sheet` is where a contact sheet goes
    (PNG: a row for each class, source to the left, target to the right). Raises JobError naming the first shard,
    and image, that is wrong.
    """
    manifest = load_manifest(path, allow_pipe=allow_pipe)
    store = ShardStore(path, allow_pipe=allow_pipe)
    lines = [f"{path}: layout {manifest.layout}, {manifest.size} x {manifest.size} pixels, seed {manifest.seed}", ""]
    lines += _table(manifest)
    if verify:
        shards = images = 0
        for domain, splits in manifest.domains.items():
            for split, infos in splits.items():
                _verify(manifest, store, domain, split)
                shards, images = shards + len(infos), images + sum(info.samples for info in infos)
        lines += ["", f"verified: {shards} shards, {images} images, every sha256 and every image is right"]
    if sheet is not None:
        draw_sheet(manifest, store).save(sheet)
        lines += ["", f"contact sheet: {sheet}"]
    store.close()
    return "\n".join(lines)


def _table(manifest: Manifest) -> list[str]:
    rows = [["domain", "split", "shards", "samples", "MB", "labels", *manifest.class_names]]
    total = 0
    for domain, splits in manifest.domains.items():
        for split, shards in splits.items():
            size = sum(shard.bytes for shard in shards)
            total += size
            counts = manifest.class_counts(domain, split)
            rows.append(
                [
                    domain,
                    split,
                    str(len(shards)),
                    str(manifest.samples(domain, split)),
                    f"{size / 1e6:.1f}",
                    "no" if counts is None else "yes",
                    *("-" if counts is None else str(counts[label]) for label in range(len(manifest.class_names))),
                ]
            )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = [
        "  ".join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))
        for row in rows
    ]
    return [*table, "", f"{total / 1e6:.1f} MB in all"]


def _verify(manifest: Manifest, store: ShardStore, domain: str, split: str) -> None:
    labelled = manifest.labelled(domain, split)
    shards = OpenShards(manifest, domain, split, store, labelled=labelled, capacity=1)
    picture = np.empty((manifest.size, manifest.size, 3), np.uint8)
    for number, info in enumerate(shards.infos):
        path = store.open(info)
        if sha256_of(path) != info.sha256:
            raise JobError(
                f"shard {path}: its sha256 is not the manifest's, so it was changed: copy it again, "
                "or write the shards again"
            )
        shard = shards[number]
        for i in range(info.samples):
            decode_or_fail(shard, i, picture)
        if labelled:
            _verify_counts(path, info, shard.index.labels, len(manifest.class_names))
        elif leak := next((name for name in member_names(shard) if name.endswith(".cls")), None):
            raise JobError(f"shard {path} holds {leak} but must not have labels: write the shards again")


def _verify_counts(path: Path, info: ShardInfo, labels: np.ndarray, classes: int) -> None:
    counts = tuple(np.bincount(labels, minlength=classes).tolist())
    if counts != info.class_counts:
        raise JobError(
            f"shard {path} holds {counts} samples of each class but the manifest says {info.class_counts}: "
            "write the shards again"
        )


def draw_sheet(manifest: Manifest, store: ShardStore) -> Image.Image:
    """Contact sheet: for every domain a block of columns, for every class a row.

    Shows the first split that has labels, which of the target is the test split; pictures without fill any row.
    """
    size, classes = manifest.size, len(manifest.class_names)
    cell = max(size, 32) + _GAP  # small pictures are spaced out rather than enlarged: one sees what is stored
    block = _COLUMNS * cell
    sheet = Image.new("RGB", (_NAMES + len(manifest.domains) * (block + 4 * _GAP), _TITLE + classes * cell), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for row, name in enumerate(manifest.class_names):
        pen.text((2, _TITLE + row * cell + size // 2 - 5), name, "black", font)
    for place, domain in enumerate(manifest.domains):
        left = _NAMES + place * (block + 4 * _GAP)
        split, labelled = next(
            ((split, True) for split in manifest.domains[domain] if manifest.labelled(domain, split)),
            (next(iter(manifest.domains[domain])), False),
        )
        pen.text((left, 2), f"{domain} {split}" + ("" if labelled else " (no labels: any row)"), "black", font)
        for row, pictures in enumerate(_pick(manifest, store, domain, split, labelled)):
            for column, picture in enumerate(pictures):
                sheet.paste(Image.fromarray(picture), (left + column * cell, _TITLE + row * cell))
    return sheet


def _pick(manifest: Manifest, store: ShardStore, domain: str, split: str, labelled: bool) -> list[list[np.ndarray]]:
    """The first pictures of each class (of any, where there are no labels), uint8 [S, S, 3]."""
    shards = OpenShards(manifest, domain, split, store, labelled=labelled, capacity=4)
    rows: list[list[np.ndarray]] = [[] for _ in manifest.class_names]
    looked = 0
    for number, info in enumerate(shards.infos):
        for i in range(info.samples):
            label = int(shards[number].index.labels[i]) if labelled else looked % len(rows)
            looked += 1
            if len(rows[label]) < _COLUMNS:
                picture = np.empty((manifest.size, manifest.size, 3), np.uint8)
                decode_or_fail(shards[number], i, picture)
                rows[label].append(picture)
        if looked >= _LOOK or all(len(row) == _COLUMNS for row in rows):
            break
    return rows
