"""Describe how the classes of two domains differ, for the user."""

import math
from collections.abc import Mapping, Sequence

from job.vocabulary import SOURCE, TARGET

_MIN_DISTANCE = 0.1  # share of the images that would have to change class
_NOT_LEARNED = "it cannot be learned from there; --option classes=folders takes only the classes that are there"
_MAX_LISTED = 12  # names of classes in a message


def compare_classes(names: Sequence[str], counts: Mapping[str, Sequence[int] | None]) -> list[str]:
    """Return lines about classes that a domain lacks and about different class shares, as far as labels are known.

    `counts` maps a domain to its images of each class, None when no image of it has a label. Shares differ when the
    distance (half the sum of absolute differences) is over a tenth and over twice the distance expected by chance for
    samples of these sizes.
    """
    lines = []
    known = {domain: count for domain, count in counts.items() if count is not None and sum(count)}
    for domain, count in known.items():
        lacking = [name for name, n in zip(names, count, strict=True) if n == 0]
        if lacking:
            what = _NOT_LEARNED if domain == SOURCE else "nothing can be measured of it there"
            lines.append(f"the {domain} has no labelled image of class {_some(lacking)}: {what}")
    if SOURCE in known and TARGET in known:
        sizes = [sum(known[domain]) for domain in (SOURCE, TARGET)]
        shares = [[n / size for n in known[domain]] for domain, size in zip((SOURCE, TARGET), sizes)]
        distance = sum(abs(b - a) for a, b in zip(*shares)) / 2
        if distance > max(_MIN_DISTANCE, 2 * _chance_distance(shares, sizes)):
            widest = max(range(len(names)), key=lambda i: abs(shares[1][i] - shares[0][i]))
            lines.append(
                f"class shares differ by {100 * distance:.0f} points between the domains, most for {names[widest]} "
                f"(source {100 * shares[0][widest]:.0f} %, target {100 * shares[1][widest]:.0f} %): aligning the "
                "domains hurts the rarer classes"
            )
    return lines


def _chance_distance(shares: Sequence[Sequence[float]], sizes: Sequence[int]) -> float:
    """Return the expected distance of two samples of one distribution: E|x| = sqrt(2 / pi) sigma for a normal x."""
    total = sum(sizes)
    pooled = [(a * sizes[0] + b * sizes[1]) / total for a, b in zip(*shares)]
    spread = sum(math.sqrt(p * (1 - p) * (1 / sizes[0] + 1 / sizes[1])) for p in pooled)
    return math.sqrt(2 / math.pi) * spread / 2


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_LISTED]) + (f", ... ({len(names)} in all)" if len(names) > _MAX_LISTED else "")
