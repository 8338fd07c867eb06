"""Describe a folder of shards in tables, and verify every byte of it: the `inspect` command."""

from pathlib import Path

import numpy as np

from job.shards.class_shares import compare_classes, misspelt_kinds
from job.shards.inspection.statistics import Contents, read_contents
from job.shards.manifest import Manifest, load_manifest
from job.shards.reading.decode import decode_or_fail
from job.shards.reading.open_shards import OpenShards
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.tar_index import member_names
from job.system.errors import JobError
from job.vocabulary import DOMAINS


def inspect_shards(path: str | Path, *, verify: bool = False, allow_pipe: bool = False) -> str:
    """Return tables of samples per domain, split and class, and of the classes, subjects and images of the domains.

    With `verify`, check every shard's sha256, every member and every image, and that no subject is in two splits.
    Samples at a URL are read only with `verify`, which downloads all shards. Raises JobError naming the first shard,
    and image, that fails.
    """
    manifest = load_manifest(path, allow_pipe=allow_pipe)
    store = ShardStore(path, allow_pipe=allow_pipe)
    header = f"layout {manifest.layout}, {manifest.size} x {manifest.size} pixels, seed {manifest.seed}"
    header += (
        f", crop {manifest.crop_in_words}, JPEG quality {manifest.quality}"
        + ", without colour" * manifest.gray
        + ", large JPEGs decoded at a reduced size" * bool(manifest.jpeg_scaling)
    )
    lines = [f"{path}: {header}", "", *_table(manifest)]
    hints = misspelt_kinds(manifest.left_out, manifest.class_names)
    lines += [
        f"warning: left out: {count} {what}: {hints[what]}" if what in hints else f"left out: {count} {what}"
        for what, count in manifest.left_out.items()
    ]
    lines += _notes(manifest)
    lines += ["", *_priors(manifest)]
    if verify:
        shards = verified = 0
        for domain, splits in manifest.domains.items():
            for split, infos in splits.items():
                _verify(manifest, store, domain, split)
                shards, verified = shards + len(infos), verified + sum(info.samples for info in infos)
    if store.remote and not verify:
        lines += ["", "the samples of remote shards are read only with --verify"]
    else:
        contents = read_contents(manifest, store)
        images = sum(manifest.samples(domain, split) for domain, splits in manifest.domains.items() for split in splits)
        lines += ["", *_contents_table(contents, images)]
        if verify and contents.subjects_in_two_splits:
            raise JobError(f"{contents.subjects_in_two_splits[0]} is in two splits: write the shards again")
    if verify:
        lines += ["", f"verified: {shards} shards, {verified} images, every sha256 and every image is correct"]
    store.close()
    return "\n".join(lines)


def _table(manifest: Manifest) -> list[str]:
    """Return a table of the splits: shards, samples, size, labels and samples of each class."""
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
                    _labels(manifest, domain, split),
                    *("-" if counts is None else str(counts[label]) for label in range(len(manifest.class_names))),
                ]
            )
    return [*aligned(rows, left=2), "", f"{total / 1e6:.1f} MB in all"]


def _labels(manifest: Manifest, domain: str, split: str) -> str:
    """Return yes, no, or how many of the samples have a label."""
    labels = manifest.labels(domain, split)
    return str(labels) if 0 < labels < manifest.samples(domain, split) else "yes" if labels else "no"


def _notes(manifest: Manifest) -> list[str]:
    """Return lines about missing labels, unknown subjects, and different classes of the domains."""
    lines = []
    for domain, splits in manifest.unlabelled.items():
        count, total = sum(splits.values()), sum(manifest.samples(domain, split) for split in manifest.domains[domain])
        parts = ", ".join(f"{split} {n}" for split, n in splits.items())
        lines.append(f"{domain}: {count} of {total} images have no label in the data set ({parts})")
    for domain, count in manifest.subjects_unknown.items():
        lines.append(f"{domain}: {count} images of unknown subject are split by image")
    counts = {domain: _known_counts(manifest, domain) for domain in DOMAINS if domain in manifest.domains}
    return lines + compare_classes(manifest.class_names, counts, manifest.left_out)


def _known_counts(manifest: Manifest, domain: str) -> list[int] | None:
    """Count the samples of each class over all splits with labels; None without such a split."""
    counts = [manifest.class_counts(domain, split) for split in manifest.domains[domain]]
    counts = [count for count in counts if count is not None]
    return [sum(column) for column in zip(*counts)] if counts else None


def aligned(rows: list[list[str]], left: int) -> list[str]:
    """Format rows of cells as lines, the first `left` columns aligned left and the others right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))).rstrip()
        for row in rows
    ]


def _priors(manifest: Manifest) -> list[str]:
    """Return a table of the differences of class shares, where both domains have labels (see docs/pitfalls.md)."""
    source, target = (manifest.domains.get(domain, {}) for domain in DOMAINS)
    rows = [["target minus source, %", "distance", *manifest.class_names]]
    for split in source:
        if split not in target:
            continue
        counts = [manifest.class_counts(domain, split) for domain in DOMAINS]
        if None in counts:
            continue
        shares = [np.array(count) / sum(count) for count in counts]
        difference = 100 * (shares[1] - shares[0])
        rows.append([split, f"{np.abs(difference).sum() / 2:.1f}", *(f"{value:+.1f}" for value in difference)])
    if len(rows) == 1:
        return ["class shares: no split is labelled in both domains"]
    return [
        "class shares; the distance is the share of a domain that would have to change class:",
        *aligned(rows, left=1),
    ]


def _contents_table(contents: Contents, images: int) -> list[str]:
    """Return a table of the subjects and pixels of every split, and a line of equal images; `images` is the total."""
    rows = [["", "subjects", "unknown", "bytes", "red", "green", "blue", "deviation", "grey"]]
    for (domain, split), split_contents in contents.splits.items():
        rows.append(
            [
                f"{domain}/{split}",
                str(len(split_contents.subjects)),
                str(split_contents.unknown),
                f"{split_contents.image_bytes:.0f}",
                *(f"{value:.0f}" for value in split_contents.mean),
                f"{split_contents.deviation.mean():.0f}",
                f"{100 * split_contents.grey:.0f} %",
            ]
        )
    shared = contents.subjects_in_two_splits
    examples = ", ".join(shared[:5]) + (" ..." if len(shared) > 5 else "")
    return [
        "subjects, and means over the images (0 to 255):",
        *aligned(rows, left=1),
        "",
        f"subjects in two splits: {_shared(contents, images)}{examples and f': {examples}'}",
        f"equal images: {contents.across_splits} groups across splits, {contents.across_domains} across domains, "
        f"{contents.within_split} within a split",
    ]


def _shared(contents: Contents, images: int) -> str:
    """Describe how many subjects are in two splits, as far as subjects are known."""
    unknown = sum(split.unknown for split in contents.splits.values())
    if unknown == images:
        return "unknown, since no image has a subject; a person may be in several"
    shared = str(len(contents.subjects_in_two_splits))
    return shared if not unknown else f"{shared} of the known ones; {unknown} images have no subject"


def _verify(manifest: Manifest, store: ShardStore, domain: str, split: str) -> None:
    """Open every shard, which checks its sha256, members, labels and class counts, and decode every image.

    Raises JobError naming the first shard that fails, or that has labels although its manifest has none.
    """
    labelled = manifest.labels(domain, split) > 0
    shards = OpenShards(manifest, domain, split, store, labelled=labelled, capacity=1, partly=True)
    image = np.empty((manifest.size, manifest.size, 3), np.uint8)
    for number, info in enumerate(shards.infos):
        shard = shards[number]
        for i in range(info.samples):
            decode_or_fail(shard, i, image)
        if info.labelled:
            continue
        if leak := next((name for name in member_names(shard) if name.endswith(".cls")), None):
            raise JobError(f"shard {shard.path} contains {leak} but must not have labels: write the shards again")
