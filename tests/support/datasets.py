"""Shards made of small data sets, and every sample of them."""

import os
from collections import Counter
from pathlib import Path

import webdataset

from job.datasets import find_layout
from job.datasets.image_search import Notes
from job.datasets.options import complete_options
from job.shards.manifest import load_manifest
from job.shards.writing.write_shards import write_shards


def build(layout, root, out, **settings):
    settings = {"size": 16, "shards": 4, "workers": 1, "progress": False, "keep_target_labels": True, **settings}
    return write_shards(layout, root, out, **settings)


def samples(out):
    """Every sample of a folder of shards, as plain webdataset reads it; its emotion is None where it has no .cls."""
    manifest = load_manifest(out)
    paths = [str(out / s.path) for splits in manifest.domains.values() for infos in splits.values() for s in infos]
    read = []
    for sample in webdataset.WebDataset(paths, shardshuffle=False).decode("rgb8"):
        split = os.path.basename(os.path.dirname(sample["__url__"]))
        about = sample["json"]
        shown = manifest.class_names[sample["cls"]] if "cls" in sample else None
        read.append({**about, "split": split, "emotion": shown, "image": sample["jpg"]})
    assert len(read) == sum(manifest.samples(d, s) for d, splits in manifest.domains.items() for s in splits)
    return read


def tally(read, *names):
    return Counter(tuple(sample[name] for name in names) for sample in read)


def assert_disjoint(read):
    """No subject is in two splits."""
    splits = {}
    for sample in read:
        if sample["subject"] is not None:
            splits.setdefault((sample["domain"], sample["subject"]), set()).add(sample["split"])
    assert splits
    assert all(len(held) == 1 for held in splits.values()), splits


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def found(layout, root, notes=None, **options):
    """What a layout finds by path, before any file is read; with `source` and `target` None as one domain of a pair."""
    layout = find_layout(layout)
    complete = complete_options(layout, {name: value for name, value in options.items() if value is not None})
    chosen = {name: value for name, value in (complete | options).items() if name not in ("val", "test", "subjects")}
    return {entry.origin: entry for entry in layout.find(str(root), notes or Notes(), **chosen)}
