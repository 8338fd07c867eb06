"""Comparison of the classes of two domains: missing classes, and shares that differ by more than chance."""

import numpy as np

from job.shards.class_shares import compare_classes

NAMES = ("a", "b", "c")


def test_a_class_that_a_domain_lacks():
    assert compare_classes(NAMES, {"source": (50, 50, 0), "target": (50, 50, 0)}) == [
        "warning: the source has no labelled image of class c: it cannot be learned from there; "
        "--option classes=folders takes only the classes that are there",
        "warning: the target has no labelled image of class c: nothing can be measured of it there",
    ]


def test_shares_that_differ():
    lines = compare_classes(NAMES, {"source": (600, 300, 100), "target": (290, 300, 410)})
    assert len(lines) == 1
    assert lines[0].startswith("class shares differ by 31 points between the domains, most for ")
    assert compare_classes(NAMES, {"source": (300, 300, 300), "target": (310, 290, 300)}) == []


def test_unknown_classes_are_not_compared():
    assert compare_classes(NAMES, {"source": (1, 1, 1), "target": None}) == []
    assert compare_classes(NAMES, {"source": None, "target": None}) == []
    assert compare_classes(NAMES, {"target": (5, 5, 5)}) == []


def test_a_difference_within_chance_is_not_reported():
    """Two samples of one distribution, 35 images of seven classes: the distance expected by chance is 15 points."""
    rng = np.random.default_rng(0)
    names = [str(label) for label in range(7)]
    alarms = 0
    for _ in range(500):
        counts = {domain: rng.multinomial(35, [1 / 7] * 7) for domain in ("source", "target")}
        alarms += any("shares differ" in line for line in compare_classes(names, counts))
    assert alarms < 10


def test_a_class_without_images_may_be_a_misspelling_of_one_that_was_left_out():
    left_out = ("class Happy", "class Fear", "emotion contempt")
    (line,) = compare_classes(("Angry", "Happpy"), {"source": (50, 0)}, left_out)
    assert line.startswith("warning: the source has no labelled image of class Happpy (did you mean Happy?): ")
