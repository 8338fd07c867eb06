"""Choose what a run trains and tests on: splits, folds, or all images of the target (the transductive protocol).

Small data sets are written in folds, the splits `fold-0`, `fold-1` and so on, disjoint by subject. A run with
`data.fold` k reads them as the ordinary splits. Which shards those are is a function of the manifest and the
configuration, so the data order stays a function of seed and step, and the arranged manifest has its own hash, so a run
resumes only on the same arrangement.

    held_out, fold k:          source: train on the others, validate and test on fold k
                               target: train on the others, validate on these too, test on fold k
    transductive, fold k:      source: the same
                               target: train, validate and test on the images of all folds
    transductive, no folds:    source: train on train and test, validate and test on val
                               target: train, validate and test on the images of all splits

The labels of the target are in its test split alone, unless the shards were written with --keep-target-labels.
"""

import re

from job.shards.manifest import Manifest, ShardInfo
from job.system.errors import JobError
from job.vocabulary import SPLITS, TARGET, TRANSDUCTIVE

_FOLD = re.compile(r"fold-(\d+)")


def fold_names(folds: int) -> tuple[str, ...]:
    """Return the names of the splits of shards in folds."""
    return tuple(f"fold-{number}" for number in range(folds))


def is_fold(split: str) -> bool:
    """Return whether a split is a fold."""
    return _FOLD.fullmatch(split) is not None


def count_folds(manifest: Manifest) -> int:
    """Return the number of folds of the shards; 0 when they are in train, val and test."""
    return len({split for splits in manifest.domains.values() for split in splits if is_fold(split)})


def arrange(manifest: Manifest, fold: int | None, protocol: str, source: str, target: str) -> Manifest:
    """Return the manifest with the splits train, val and test that a run reads.

    `source` and `target` are the names of the domains in these roles. Without a fold, the protocol held_out returns
    the manifest itself. Raises JobError when the shards are in folds and `fold` is None, or the other way round, or
    there is no such fold.
    """
    folds = count_folds(manifest)
    _check(folds, fold)
    if fold is None and protocol != TRANSDUCTIVE:
        return manifest
    domains, unlabelled = {}, {}
    for domain, splits in manifest.domains.items():
        is_target = domain == target
        members = _members(tuple(splits), fold, is_target and protocol == TRANSDUCTIVE, is_target)
        hidden = ("train", "val") if domain == TARGET and not manifest.keep_target_labels else ()
        arranged = {}
        for split, names in members.items():
            shards = tuple(shard for name in names for shard in splits.get(name, ()))
            arranged[split] = tuple(map(_without_labels, shards)) if split in hidden else shards
        domains[domain] = {split: shards for split, shards in arranged.items() if shards}
        counts = manifest.unlabelled.get(domain, {})
        unlabelled[domain] = {split: sum(counts.get(name, 0) for name in names) for split, names in members.items()}
    return manifest.with_domains(domains, unlabelled)


def _check(folds: int, fold: int | None) -> None:
    if fold is None and folds:
        raise JobError(
            f"these shards are in {folds} folds: choose one with data.fold=0 to {folds - 1}, or train on each in turn "
            "with `python -m job crossval`"
        )
    if fold is not None and not folds:
        raise JobError(f"data.fold={fold} needs shards in folds: write them with --option folds=5, or leave it out")
    if fold is not None and fold >= folds:
        raise JobError(f"data.fold={fold}: these shards have the folds 0 to {folds - 1}")


def _members(splits: tuple[str, ...], fold: int | None, whole: bool, is_target: bool) -> dict[str, tuple[str, ...]]:
    """Return the splits of the shards that train, val and test consist of."""
    if whole:
        return dict.fromkeys(SPLITS, splits)
    if fold is None:
        return {"train": ("train", "test"), "val": ("val",), "test": ("val",)}
    held = f"fold-{fold}"
    others = tuple(split for split in splits if split != held)
    return {"train": others, "val": others if is_target else (held,), "test": (held,)}


def _without_labels(shard: ShardInfo) -> ShardInfo:
    """Return a shard whose labels are not read."""
    return shard.model_copy(update={"labelled": False, "class_counts": None})
