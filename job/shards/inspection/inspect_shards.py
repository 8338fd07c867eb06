"""What is in a folder of shards: a table, a check of every byte, a contact sheet."""

from pathlib import Path

import numpy as np

from job.shards.inspection.contact_sheet import draw_sheet
from job.shards.inspection.statistics import Contents, read_contents
from job.shards.manifest import Manifest, ShardInfo, load_manifest
from job.shards.reading.decode import decode_or_fail
from job.shards.reading.open_shards import OpenShards
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.tar_index import member_names
from job.system.errors import JobError
from job.system.files import sha256_of
from job.vocabulary import DOMAINS, SPLITS


def inspect_shards(
    path: str | Path, *, verify: bool = False, sheet: str | Path | None = None, allow_pipe: bool = False
) -> str:
    """Samples per domain, split and class; how the classes, the subjects and the pictures of the domains differ.

    With `verify`, every shard's sha256, every member and every image are checked, and that no subject is in two splits;
    `sheet` is where a contact sheet goes (PNG: a row for each class, source to the left, target to the right). Shards
    at a URL are looked into only with `verify`, which fetches them all. Raises JobError naming the first shard, and
    image, that is wrong.
    """
    manifest = load_manifest(path, allow_pipe=allow_pipe)
    store = ShardStore(path, allow_pipe=allow_pipe)
    made = f"layout {manifest.layout}, {manifest.size} x {manifest.size} pixels, seed {manifest.seed}"
    lines = [f"{path}: {made}, crop {manifest.crop}, JPEG quality {manifest.quality}", "", *_table(manifest)]
    lines += [f"left out: {count} {what}" for what, count in manifest.left_out.items()]
    lines += ["", *_priors(manifest)]
    if verify:
        shards = images = 0
        for domain, splits in manifest.domains.items():
            for split, infos in splits.items():
                _verify(manifest, store, domain, split)
                shards, images = shards + len(infos), images + sum(info.samples for info in infos)
    if store.remote and not verify:
        lines += ["", "the samples of remote shards are looked into with --verify"]
    else:
        contents = read_contents(manifest, store)
        lines += ["", *_told(contents)]
        if verify and contents.subjects_in_two_splits:
            raise JobError(f"{contents.subjects_in_two_splits[0]} is in two splits: write the shards again")
    if verify:
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
    return [*aligned(rows, left=2), "", f"{total / 1e6:.1f} MB in all"]


def aligned(rows: list[list[str]], left: int) -> list[str]:
    """Rows of cells as lines, the first `left` columns to the left and the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))).rstrip()
        for row in rows
    ]


def _priors(manifest: Manifest) -> list[str]:
    """How the shares of the classes differ, where both domains are labelled (docs/pitfalls.md: class shares differ)."""
    source, target = (manifest.domains.get(domain, {}) for domain in DOMAINS)
    rows = [["target minus source, %", "distance", *manifest.class_names]]
    for split in SPLITS:
        if split not in source or split not in target:
            continue
        counts = [manifest.class_counts(domain, split) for domain in DOMAINS]
        if None in counts:
            continue
        shares = [np.array(count) / sum(count) for count in counts]
        difference = 100 * (shares[1] - shares[0])
        rows.append([split, f"{np.abs(difference).sum() / 2:.1f}", *(f"{value:+.1f}" for value in difference)])
    if len(rows) == 1:
        return ["class shares: no split is labelled in both domains"]
    return ["class shares; the distance is how much of a domain would have to change class:", *aligned(rows, left=1)]


def _told(contents: Contents) -> list[str]:
    """Subjects and pixels of every split, and equal images."""
    rows = [["", "subjects", "of none known", "bytes", "red", "green", "blue", "deviation", "grey"]]
    for (domain, split), held in contents.splits.items():
        rows.append(
            [
                f"{domain}/{split}",
                str(len(held.subjects)),
                str(held.unknown),
                f"{held.image_bytes:.0f}",
                *(f"{value:.0f}" for value in held.mean),
                f"{held.deviation.mean():.0f}",
                f"{100 * held.grey:.0f} %",
            ]
        )
    shared = contents.subjects_in_two_splits
    named = ", ".join(shared[:5]) + (" ..." if len(shared) > 5 else "")
    return [
        "subjects, and means over the images (0 to 255):",
        *aligned(rows, left=1),
        "",
        f"subjects in two splits: {len(shared)}{named and f': {named}'}",
        f"equal images: {contents.across_splits} groups across splits, {contents.across_domains} across domains, "
        f"{contents.within_split} within a split",
    ]


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
