"""Splits: disjoint by subject and by content, stratified by domain and class, decided by the seed."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from job.data.hashing import counters, mix, spread
from job.data.records import DOMAINS, SPLITS
from job.errors import JobError


class Item(NamedTuple):
    """What decides the split of one image: `given` is the split that the data set itself names."""

    domain: str
    label: int
    subject: str | None
    content: str
    given: str | None


def repeats_of_held_out(items: Sequence[Item]) -> set[int]:
    """Places of images that the data set gives to one split while an equal image is in a later one.

    Many official splits share images: whoever trained on those would be tested on what was seen. Test keeps its own.
    """
    rank: dict[str, int] = {}
    for item in items:
        if item.given is not None:
            rank[item.content] = max(rank.get(item.content, 0), SPLITS.index(item.given))
    return {
        place
        for place, item in enumerate(items)
        if item.given is not None and SPLITS.index(item.given) < rank[item.content]
    }


def assign_splits(items: Sequence[Item], *, seed: int, val: float, test: float, name: str) -> list[str]:
    """The split of each item; `val` and `test` are shares of the images that have no split of their own.

    Images of one subject, and equal images, stay together. A split that the data set names is kept; one that it lacks
    is taken out of its training split. Every domain gets some of each split. Raises JobError where that is impossible.
    """
    _check_subjects(items, name)
    lacking = [split for split in ("val", "test") if not any(item.given == split for item in items)]
    units = _units(items)
    allowed: list[Sequence[str]] = [SPLITS] * len(units)
    if any(item.given for item in items):
        allowed = [_allowed({items[i].given for i in unit}, lacking) for unit in units]
    strata = [(DOMAINS.index(item.domain), item.label) for item in items]
    wanted = _wanted(units, allowed, strata, {"val": val, "test": test})
    total = Counter(strata)
    chosen = [splits[0] for splits in allowed]
    for u in _order(units, mix(seed, "splits")):
        splits, unit = allowed[u], units[u]
        if len(splits) == 1:
            continue
        # the split that lacks most of what this unit has; rare classes count as much as frequent ones
        if len(unit) == 1:
            counts = {strata[unit[0]]: 1}
            needs = [wanted[split][strata[unit[0]]] for split in splits]
        else:
            counts = Counter(strata[i] for i in unit)
            needs = [sum(n * wanted[split][s] / total[s] for s, n in counts.items()) for split in splits]
        chosen[u] = splits[needs.index(max(needs))]
        for stratum, n in counts.items():
            wanted[chosen[u]][stratum] -= n
    _fill_empty(items, units, allowed, chosen, name)
    splits = [""] * len(items)
    for unit, free, split in zip(units, allowed, chosen):
        for i in unit:
            splits[i] = split if len(free) > 1 or items[i].given is None else items[i].given
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
        units.setdefault(above if above == i else root(i), []).append(i)
    return list(units.values())


def _allowed(given: set[str | None], lacking: list[str]) -> Sequence[str]:
    """The splits that a unit may go to, where the data set gives its images to these."""
    if given == {None}:
        return SPLITS
    given = given - {None}
    return ("train", *lacking) if given == {"train"} else [max(given, key=SPLITS.index)]


def _order(units: list[list[int]], key: int) -> list[int]:
    """Large units first, while there is still room for them; equal ones as the seed says."""
    random = counters(key, spread(np.arange(len(units))))
    return np.lexsort((random, [-len(unit) for unit in units])).tolist()


def _wanted(units, allowed, strata, shares) -> dict[str, dict[tuple[int, int], float]]:
    """Images of every stratum (domain, class) that each split should get of those that are free: whole numbers."""
    wanted: dict[str, dict[tuple[int, int], float]] = {split: dict.fromkeys(strata, 0.0) for split in SPLITS}
    free: Counter[tuple[int, int]] = Counter()
    for unit, splits in zip(units, allowed):
        if len(splits) > 1:
            free.update(strata[i] for i in unit)
            for split in splits[1:]:
                for i in unit:
                    wanted[split][strata[i]] += shares[split]
    for split in ("val", "test"):
        for domain in range(len(DOMAINS)):
            parts = {stratum: share for stratum, share in wanted[split].items() if stratum[0] == domain}
            wanted[split] |= _whole(parts)
    for stratum, n in free.items():
        wanted["train"][stratum] = n - sum(wanted[split][stratum] for split in ("val", "test"))
    return wanted


def _whole(parts: dict[tuple[int, int], float]) -> dict[tuple[int, int], int]:
    """Round so that the sum is kept: up where most is lost (largest remainders)."""
    whole = {stratum: int(share + 1e-9) for stratum, share in parts.items()}
    lost = round(sum(parts.values())) - sum(whole.values())
    for stratum in sorted(parts, key=lambda stratum: (whole[stratum] - parts[stratum], stratum))[:lost]:
        whole[stratum] += 1
    return whole


def _fill_empty(items, units, allowed, chosen, name) -> None:
    """Give every domain some images of every split, by moving its smallest units."""
    for domain in DOMAINS:
        members = [u for u, unit in enumerate(units) if any(items[i].domain == domain for i in unit)]
        for split in SPLITS:
            if any(chosen[u] == split for u in members):
                continue
            held = Counter(chosen[u] for u in members)
            movable = [u for u in members if split in allowed[u] and held[chosen[u]] > 1]
            if not movable:
                raise JobError(
                    f"layout {name}: {len(members)} subjects or different images of the {domain} are too few for "
                    f"train, val and test ({split} would be empty): add some, or set --option subjects=false"
                )
            chosen[min(movable, key=lambda u: (len(units[u]), u))] = split
