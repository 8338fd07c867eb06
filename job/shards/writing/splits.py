"""Splits: disjoint by subject and by content, stratified by domain and class, decided by the seed.

Images without a label are a class of their own here. Where only some images of a domain have a label, the test split
takes those first: nothing else makes use of them.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from job.system.errors import JobError
from job.system.random_numbers import counters, mix, spread
from job.vocabulary import DOMAINS, SPLITS, UNLABELLED


class Item(NamedTuple):
    """What decides the split of one image: `given` is the split that the data set itself names.

    `label` is UNLABELLED where there is none.
    """

    domain: str
    label: int
    subject: str | None
    content: str
    given: str | None


def repeats_of_held_out(items: Sequence[Item]) -> set[int]:
    """Places of images that the data set gives to one split while an equal image is, or will be, in a later one.

    Many official splits share images: whoever trained on those would be tested on what was seen. Test keeps its own.
    """
    if not any(item.given for item in items):
        return set()
    splits = _bound(items)
    rank: dict[str, int] = {}
    for item, split in zip(items, splits):
        if split is not None:
            rank[item.content] = max(rank.get(item.content, 0), SPLITS.index(split))
    return {
        place
        for place, (item, split) in enumerate(zip(items, splits))
        if split is not None and SPLITS.index(split) < rank[item.content]
    }


def _bound(items: Sequence[Item]) -> list[str | None]:
    """The split that the data set gives each image to, or that it will go to with images that are given to several."""
    splits = [item.given for item in items]
    if None in splits:
        for unit in _units(items):
            given = {splits[i] for i in unit} - {None}
            if len(given) > 1:
                latest = max(given, key=SPLITS.index)  # as in `_allowed`
                for i in unit:
                    splits[i] = splits[i] or latest
    return splits


def assign_splits(items: Sequence[Item], *, seed: int, val: float, test: float, name: str) -> list[str]:
    """The split of each item; `val` and `test` are shares of the images that have no split of their own.

    Images of one subject, and equal images, stay together. A split that the data set names is kept; one that a domain
    lacks is taken out of its training split. Every domain gets some of each split. Raises JobError where it cannot.
    """
    _check_subjects(items, name)
    units = _units(items)
    allowed = _allowed(items, units)
    strata = [item[:2] for item in items]
    total = Counter(strata)
    wanted = _wanted(strata, total, units, allowed, {"val": val, "test": test})
    lacking = [wanted[stratum] for stratum in strata]
    chosen = [splits[0] for splits in allowed]
    for u in _order(units, mix(seed, "splits")):
        splits, unit = allowed[u], units[u]
        if len(splits) == 1:
            continue
        # the split that lacks most of what this unit has; rare classes count as much as frequent ones
        lacks = lacking[unit[0]]
        if len(unit) > 1:
            counts = Counter(strata[i] for i in unit)
            lacks = {split: sum(n * wanted[s][split] / total[s] for s, n in counts.items()) for split in splits}
        chosen[u] = split = max(splits, key=lacks.__getitem__)
        for i in unit:
            lacking[i][split] -= 1
    _fill_empty(items, units, allowed, chosen, name)
    splits = [item.given for item in items]
    for unit, free, split in zip(units, allowed, chosen):
        for i in unit:
            if len(free) > 1 or splits[i] is None:
                splits[i] = split
    return splits


def _check_subjects(items: Sequence[Item], name: str) -> None:
    """Raise JobError where the data set itself gives a subject to two splits."""
    given: dict[str, str] = {}
    for item in items:
        if item.subject is None or item.given is None:
            continue
        if given.setdefault(item.subject, item.given) != item.given:
            raise JobError(
                f"layout {name}: subject {item.subject} is given to {given[item.subject]} and to {item.given}: "
                "splits must be disjoint by subject; correct that, or set --option subjects=false"
            )


def _units(items: Sequence[Item]) -> list[list[int]]:
    """Items that must stay together: connected through a subject or a content they share."""
    parent = list(range(len(items)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for values in ([item.content for item in items], [item.subject for item in items]):
        first: dict[str | None, int] = {}
        for i, value in enumerate(values):
            j = first.setdefault(value, i)
            if i != j and value is not None:
                low, high = sorted((root(i), root(j)))
                parent[high] = low
    units: dict[int, list[int]] = {}
    for i, above in enumerate(parent):
        if above == i:
            units[i] = [i]  # the first of its unit: whatever is above an item comes before it
        else:
            units[root(i)].append(i)
    return list(units.values())


def _allowed(items: Sequence[Item], units: list[list[int]]) -> list[Sequence[str]]:
    """The splits that each unit may go to: all, unless the data set gives some of its images to one."""
    if not any(item.given for item in items):
        return [SPLITS] * len(units)
    free = _taken_from_train(items)
    both = tuple(split for split in SPLITS if all(split in splits for splits in free.values()))
    allowed = []
    for unit in units:
        given = {items[i].given for i in unit} - {None}
        # a test split of the data set's own is for what has a label: nothing can be measured on the others
        if given == {"train"} or (not given and all(items[i].label == UNLABELLED for i in unit)):
            domains = {items[i].domain for i in unit}
            allowed.append(both if len(domains) > 1 else free[domains.pop()])
        else:
            allowed.append((max(given, key=SPLITS.index),) if given else SPLITS)
    return allowed


def _taken_from_train(items: Sequence[Item]) -> dict[str, Sequence[str]]:
    """By domain, where images that the data set gives to train may go: there, and to splits that it does not name."""
    named = {(item.domain, item.given) for item in items}
    return {domain: ("train", *(s for s in SPLITS[1:] if (domain, s) not in named)) for domain in DOMAINS}


def _order(units: list[list[int]], key: int) -> list[int]:
    """Large units first, while there is still room for them; equal ones as the seed says."""
    random = counters(key, spread(np.arange(len(units))))
    return np.lexsort((random, [-len(unit) for unit in units])).tolist()


def _wanted(strata, total, units, allowed, shares) -> dict[tuple[str, int], dict[str, float]]:
    """Images of every stratum (domain, class) that each split should get of those that are free: whole numbers."""
    wanted = {stratum: dict.fromkeys(SPLITS, 0.0) for stratum in total}
    free, room = Counter(), Counter()  # of all free images, and of those that may be tested on
    for splits in sorted(set(allowed)):
        if len(splits) > 1:
            held = Counter(strata[i] for unit, its in zip(units, allowed) if its == splits for i in unit)
            free += held
            room += held if "test" in splits else Counter()
            for split in splits[1:]:
                for stratum, n in held.items():
                    wanted[stratum][split] += n * shares[split]
    for split in ("test", "val"):
        for domain in DOMAINS:
            parts = {stratum: lacks[split] for stratum, lacks in wanted.items() if stratum[0] == domain}
            if 0 < parts.get((domain, UNLABELLED), 0) < sum(parts.values()):
                left = {stratum: free[stratum] - wanted[stratum]["test"] for stratum in parts}
                parts = _labelled_first(parts, room) if split == "test" else _shared_out(sum(parts.values()), left)
            for stratum, n in _whole(parts).items():
                wanted[stratum][split] = n
    for stratum, n in free.items():
        wanted[stratum]["train"] = n - wanted[stratum]["val"] - wanted[stratum]["test"]
    return wanted


def _labelled_first(parts: dict[tuple[str, int], float], room: Counter) -> dict[tuple[str, int], float]:
    """The same sum of images, of those with a label as many as there are, and only the rest of those without."""
    total = sum(parts.values())
    labelled = {stratum: room[stratum] for stratum in parts if stratum[1] != UNLABELLED}
    some = _shared_out(min(total, sum(labelled.values())), labelled)
    return {stratum: some.get(stratum, total - sum(some.values())) for stratum in parts}


def _shared_out(total: float, among: dict[tuple[str, int], float]) -> dict[tuple[str, int], float]:
    """A sum of images in proportion to what each stratum has."""
    held = sum(among.values())
    return {stratum: total * n / held if held else 0.0 for stratum, n in among.items()}


def _whole(parts: dict[tuple[str, int], float]) -> dict[tuple[str, int], int]:
    """Round so that the sum is kept: up where most is lost (largest remainders)."""
    whole = {stratum: int(share + 1e-9) for stratum, share in parts.items()}
    lost = round(sum(parts.values())) - sum(whole.values())
    for stratum in sorted(parts, key=lambda stratum: (whole[stratum] - parts[stratum], stratum))[:lost]:
        whole[stratum] += 1
    return whole


def _fill_empty(items, units, allowed, chosen, name) -> None:
    """Give every domain some images of every split, by moving its smallest units."""
    held = {(items[i].domain, split) for unit, split in zip(units, chosen) for i in unit}
    for domain in DOMAINS:
        if all((domain, split) in held for split in SPLITS):
            continue
        members = [u for u, unit in enumerate(units) if any(items[i].domain == domain for i in unit)]
        for split in SPLITS:
            if any(chosen[u] == split for u in members):
                continue
            counts = Counter(chosen[u] for u in members)
            movable = [u for u in members if split in allowed[u] and counts[chosen[u]] > 1]
            if not movable:
                raise JobError(
                    f"layout {name}: {len(members)} subjects or different images of the {domain} are too few for "
                    f"train, val and test ({split} would be empty): add some, or set --option subjects=false"
                )
            chosen[min(movable, key=lambda u: (len(units[u]), u))] = split
