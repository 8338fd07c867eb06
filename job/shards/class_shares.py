"""How the classes of two domains differ, in lines for people."""

import math
from collections.abc import Mapping, Sequence

from job.vocabulary import SOURCE, TARGET

_MUCH = 0.1  # of the images would have to change class
_NAMED = 12  # so many classes are listed


def compare_classes(names: Sequence[str], counts: Mapping[str, Sequence[int] | None]) -> list[str]:
    """Classes that a domain lacks, and how the shares of the classes differ, as far as labels are known.

    `counts` holds the images of each class by domain, None where no image of the domain has a label. Shares are said to
    differ when the distance (half the sum of absolute differences) is over a tenth and over twice what chance alone
    would make of samples of that size.
    """
    lines = []
    held = {domain: count for domain, count in counts.items() if count is not None and sum(count)}
    for domain, count in held.items():
        lacking = [name for name, n in zip(names, count, strict=True) if n == 0]
        if lacking:
            what = "it cannot be learned from there" if domain == SOURCE else "nothing can be measured of it there"
            lines.append(f"the {domain} has no labelled image of class {_some(lacking)}: {what}")
    if SOURCE in held and TARGET in held:
        sizes = [sum(held[domain]) for domain in (SOURCE, TARGET)]
        shares = [[n / size for n in held[domain]] for domain, size in zip((SOURCE, TARGET), sizes)]
        distance = sum(abs(b - a) for a, b in zip(*shares)) / 2
        if distance > max(_MUCH, 2 * _by_chance(shares, sizes)):
            widest = max(range(len(names)), key=lambda i: abs(shares[1][i] - shares[0][i]))
            lines.append(
                f"class shares differ by {100 * distance:.0f} points between the domains, most for {names[widest]} "
                f"(source {100 * shares[0][widest]:.0f} %, target {100 * shares[1][widest]:.0f} %): aligning the "
                "domains hurts the rarer classes"
            )
    return lines


def _by_chance(shares: Sequence[Sequence[float]], sizes: Sequence[int]) -> float:
    """The expected distance of two samples of one distribution: E|x| = sqrt(2 / pi) sigma of a normal variable."""
    total = sum(sizes)
    pooled = [(a * sizes[0] + b * sizes[1]) / total for a, b in zip(*shares)]
    spread = sum(math.sqrt(p * (1 - p) * (1 / sizes[0] + 1 / sizes[1])) for p in pooled)
    return math.sqrt(2 / math.pi) * spread / 2


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f", ... ({len(names)} in all)" if len(names) > _NAMED else "")
