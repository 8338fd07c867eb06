"""Assign images to splits, disjoint by subject and content, stratified by domain and class, seeded.

Images without a label count as a class of their own. When only some images of a domain have a label, the test split
takes those first: no other split of the target needs labels.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from job.system.errors import JobError
from job.system.random_numbers import counters, mix, spread
from job.vocabulary import DOMAINS, SPLITS, UNLABELLED


class Item(NamedTuple):
    """The properties of an image that determine its split.

    `label` may be UNLABELLED, `content` is a digest, `given` is the split in the data set, None without one.
    """

    domain: str
    label: int
    subject: str | None
    content: str
    given: str | None


def repeats_of_held_out(items: Sequence[Item]) -> set[int]:
    """Return the indices of images that the data set assigns to one split while an equal image is in a later split.

    Many official splits share images, and a model would be tested on images of its training. Test keeps its images.
    """
    if not any(item.given for item in items):
        return set()
    splits = _predetermined(items)
    rank: dict[str, int] = {}
    for item, split in zip(items, splits):
        if split is not None:
            rank[item.content] = max(rank.get(item.content, 0), SPLITS.index(split))
    return {
        i
        for i, (item, split) in enumerate(zip(items, splits))
        if split is not None and SPLITS.index(split) < rank[item.content]
    }


def _predetermined(items: Sequence[Item]) -> list[str | None]:
    """Return the split of each image in the data set, or of the images it must stay with; None when it is free."""
    splits = [item.given for item in items]
    if None in splits:
        for unit in stay_together(items):
            given = {splits[i] for i in unit} - {None}
            if len(given) > 1:
                latest = max(given, key=SPLITS.index)  # as `_allowed` does
                for i in unit:
                    splits[i] = splits[i] or latest
    return splits


def assign_splits(items: Sequence[Item], *, seed: int, val: float, test: float, name: str) -> list[str]:
    """Return the split of each item; `val` and `test` are shares of the images without a split in the data set.

    Images of one subject, and equal images, stay together. A split of the data set is kept; a split that a domain lacks
    is taken from its training split. Every domain gets images in each split. Raises JobError when it has too few, or
    the data set puts a subject into two splits.
    """
    _check_subjects(items, name)
    units = stay_together(items)
    allowed = _allowed(items, units)
    strata = [item[:2] for item in items]
    total = Counter(strata)
    wanted = _wanted(strata, total, units, allowed, {"val": val, "test": test})
    lacking = [wanted[stratum] for stratum in strata]
    assigned = [splits[0] for splits in allowed]
    for u in _order(units, mix(seed, "splits")):
        splits, unit = allowed[u], units[u]
        if len(splits) == 1:
            continue
        # the split that lacks most images of this unit's strata; rare classes weigh as much as frequent ones
        lacks = lacking[unit[0]]
        if len(unit) > 1:
            counts = Counter(strata[i] for i in unit)
            lacks = {split: sum(n * wanted[s][split] / total[s] for s, n in counts.items()) for split in splits}
        assigned[u] = split = max(splits, key=lacks.__getitem__)
        for i in unit:
            lacking[i][split] -= 1
    _fill_empty(items, units, allowed, assigned, name)
    splits = [item.given for item in items]
    for unit, free, split in zip(units, allowed, assigned):
        for i in unit:
            if len(free) > 1 or splits[i] is None:
                splits[i] = split
    return splits


def _check_subjects(items: Sequence[Item], name: str) -> None:
    """Raise JobError when the data set puts a subject into two splits."""
    given: dict[str, str] = {}
    for item in items:
        if item.subject is None or item.given is None:
            continue
        if given.setdefault(item.subject, item.given) != item.given:
            raise JobError(
                f"layout {name}: subject {item.subject} is in {given[item.subject]} and in {item.given}: "
                "splits must be disjoint by subject; correct the data set, or set --option subjects=false"
            )


def stay_together(items: Sequence[Item]) -> list[list[int]]:
    """Group the indices of items that must stay together, connected by equal subjects or contents (union-find)."""
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
    for i, parent_index in enumerate(parent):
        if parent_index == i:
            units[i] = [i]  # the first of its unit: a parent has a lower index than its children
        else:
            units[root(i)].append(i)
    return list(units.values())


def _allowed(items: Sequence[Item], units: list[list[int]]) -> list[Sequence[str]]:
    """Return the splits that each unit may go to: all, unless the data set assigns some of its images."""
    if not any(item.given for item in items):
        return [SPLITS] * len(units)
    free = _taken_from_train(items)
    both = tuple(split for split in SPLITS if all(split in splits for splits in free.values()))
    allowed = []
    for unit in units:
        given = {items[i].given for i in unit} - {None}
        # unlabelled images do not join a test split of the data set: nothing can be measured on them
        if given == {"train"} or (not given and all(items[i].label == UNLABELLED for i in unit)):
            domains = {items[i].domain for i in unit}
            allowed.append(both if len(domains) > 1 else free[domains.pop()])
        else:
            allowed.append((max(given, key=SPLITS.index),) if given else SPLITS)
    return allowed


def _taken_from_train(items: Sequence[Item]) -> dict[str, Sequence[str]]:
    """Return by domain the splits open to its training images: train, and the splits that the domain lacks."""
    named = {(item.domain, item.given) for item in items}
    return {domain: ("train", *(s for s in SPLITS[1:] if (domain, s) not in named)) for domain in DOMAINS}


def _order(units: list[list[int]], key: int) -> list[int]:
    """Return indices of units, large units first, while splits have room for them; the seed orders equal sizes."""
    random = counters(key, spread(np.arange(len(units))))
    return np.lexsort((random, [-len(unit) for unit in units])).tolist()


def _wanted(strata, total, units, allowed, shares) -> dict[tuple[str, int], dict[str, float]]:
    """Return how many free images of every stratum (domain, class) each split should get, as whole numbers."""
    wanted = {stratum: dict.fromkeys(SPLITS, 0.0) for stratum in total}
    free, room = Counter(), Counter()  # of all free images, and of those allowed in test
    for splits in sorted(set(allowed)):
        if len(splits) > 1:
            images = Counter(strata[i] for unit, open_to in zip(units, allowed) if open_to == splits for i in unit)
            free += images
            room += images if "test" in splits else Counter()
            for split in splits[1:]:
                for stratum, n in images.items():
                    wanted[stratum][split] += n * shares[split]
    for split in ("test", "val"):
        for domain in DOMAINS:
            parts = {stratum: lacks[split] for stratum, lacks in wanted.items() if stratum[0] == domain}
            if 0 < parts.get((domain, UNLABELLED), 0) < sum(parts.values()):
                left = {stratum: free[stratum] - wanted[stratum]["test"] for stratum in parts}
                parts = _labelled_first(parts, room) if split == "test" else _in_proportion(sum(parts.values()), left)
            for stratum, n in _whole(parts).items():
                wanted[stratum][split] = n
    for stratum, n in free.items():
        wanted[stratum]["train"] = n - wanted[stratum]["val"] - wanted[stratum]["test"]
    return wanted


def _labelled_first(parts: dict[tuple[str, int], float], room: Counter) -> dict[tuple[str, int], float]:
    """Redistribute a split's images: as many labelled images as there are, and the rest unlabelled."""
    total = sum(parts.values())
    labelled = {stratum: room[stratum] for stratum in parts if stratum[1] != UNLABELLED}
    some = _in_proportion(min(total, sum(labelled.values())), labelled)
    return {stratum: some.get(stratum, total - sum(some.values())) for stratum in parts}


def _in_proportion(total: float, among: dict[tuple[str, int], float]) -> dict[tuple[str, int], float]:
    """Divide a number of images among strata in proportion to their sizes."""
    size = sum(among.values())
    return {stratum: total * n / size if size else 0.0 for stratum, n in among.items()}


def _whole(parts: dict[tuple[str, int], float]) -> dict[tuple[str, int], int]:
    """Round to whole numbers with the same sum, by largest remainders."""
    whole = {stratum: int(share + 1e-9) for stratum, share in parts.items()}
    lost = round(sum(parts.values())) - sum(whole.values())
    for stratum in sorted(parts, key=lambda stratum: (whole[stratum] - parts[stratum], stratum))[:lost]:
        whole[stratum] += 1
    return whole


def only_subject(items: Sequence[Item], domain: str) -> str:
    """Return what to say about a domain whose images all have one subject: a pattern that matches too little."""
    subjects = {item.subject for item in items if item.domain == domain}
    if len(subjects) != 1 or None in subjects:
        return ""
    return f". All images of the {domain} have the subject {subjects.pop()!r}: check --option subject if that is wrong"


def _fill_empty(items, units, allowed, assigned, name) -> None:
    """Give every domain images in every split, by moving its smallest units. Raises JobError when it has too few."""
    filled = {(items[i].domain, split) for unit, split in zip(units, assigned) for i in unit}
    for domain in DOMAINS:
        if all((domain, split) in filled for split in SPLITS) or not any(where == domain for where, _ in filled):
            continue
        members = [u for u, unit in enumerate(units) if any(items[i].domain == domain for i in unit)]
        for split in SPLITS:
            if any(assigned[u] == split for u in members):
                continue
            counts = Counter(assigned[u] for u in members)
            movable = [u for u in members if split in allowed[u] and counts[assigned[u]] > 1]
            if not movable:
                raise JobError(
                    f"layout {name}: {len(members)} subjects or different images of the {domain} are too few for "
                    f"train, val and test ({split} would be empty): add some, or set --option subjects=false"
                    f"{only_subject(items, domain)}"
                )
            assigned[min(movable, key=lambda u: (len(units[u]), u))] = split
