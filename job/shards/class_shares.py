"""Describe how the classes of two domains differ, for the user."""

import math
from collections.abc import Collection, Mapping, Sequence

from job.datasets.classes import misspelt, misspelt_emotion
from job.vocabulary import SOURCE, TARGET

_MIN_DISTANCE = 0.1  # share of the images that would have to change class
_NOT_LEARNED = "it cannot be learned from there; --option classes=folders takes only the classes that are there"
_MAX_LISTED = 12  # names of classes in a message
_CLASS, _EMOTION = "class ", "emotion "  # begin a kind of images that were left out, before the name of their class
_MOST_DROPPED = 1000  # names that a class without images is compared with
_MOST_COMPARED = 100_000  # pairs of names: comparing a million takes seconds


def compare_classes(
    names: Sequence[str], counts: Mapping[str, Sequence[int] | None], left_out: Collection[str] = ()
) -> list[str]:
    """Return lines about classes that a domain lacks and about different class shares, as far as labels are known.

    `counts` maps a domain to its images of each class, None when no image of it has a label. `left_out` are the kinds
    of images that were left out, such as `class Happy`: a class without images may be a misspelling of one of them.
    Shares differ when the distance (half the sum of absolute differences) is over a tenth and over twice the distance
    expected by chance for samples of these sizes.
    """
    lines = []
    dropped = [what.removeprefix(_CLASS) for what in left_out if what.startswith(_CLASS)][:_MOST_DROPPED]
    known = {domain: count for domain, count in counts.items() if count is not None and sum(count)}
    for domain, count in known.items():
        lacking = [name for name, n in zip(names, count, strict=True) if n == 0]
        if lacking:
            what = _NOT_LEARNED if domain == SOURCE else "nothing can be measured of it there"
            lines.append(f"warning: the {domain} has no labelled image of class {_some(lacking, dropped)}: {what}")
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


def misspelt_kinds(left_out: Collection[str], class_names: Sequence[str]) -> dict[str, str]:
    """Return what to do about each kind of images that were left out and whose class may be misspelt.

    `emotion Hapy` may be happy; `class Happy` may be Happpy, a name in the list of --option classes.
    """
    if len(left_out) * len(class_names) > _MOST_COMPARED:
        return {}
    hints = {}
    for what in left_out:
        near = None
        if what.startswith(_EMOTION):
            near = misspelt_emotion(what.removeprefix(_EMOTION))
        elif what.startswith(_CLASS):
            near = misspelt(what.removeprefix(_CLASS), class_names)
        if near is not None:
            hints[what] = f"did you mean {near}? correct the misspelt one"
    return hints


def _chance_distance(shares: Sequence[Sequence[float]], sizes: Sequence[int]) -> float:
    """Return the expected distance of two samples of one distribution: E|x| = sqrt(2 / pi) sigma for a normal x."""
    total = sum(sizes)
    pooled = [(a * sizes[0] + b * sizes[1]) / total for a, b in zip(*shares)]
    spread = sum(math.sqrt(p * (1 - p) * (1 / sizes[0] + 1 / sizes[1])) for p in pooled)
    return math.sqrt(2 / math.pi) * spread / 2


def _some(names: Sequence[str], dropped: Sequence[str]) -> str:
    """List the first names, each with the dropped name that it may be a misspelling of."""
    near = {name: misspelt(name, dropped) for name in names[:_MAX_LISTED]}
    listed = ", ".join(f"{name} (did you mean {other}?)" if other else name for name, other in near.items())
    return listed + (f", ... ({len(names)} in all)" if len(names) > _MAX_LISTED else "")
