"""Splits are disjoint by subject and by content, stratified, and a function of the seed alone."""

import csv
import shutil
from collections import Counter

import numpy as np
import pytest

from job.shards.writing.splits import Item, assign_splits, repeats_of_held_out
from job.system.errors import JobError
from job.vocabulary import UNLABELLED
from tests.support import trees
from tests.support.datasets import build, samples


def items(people=40, photos=25, classes=7, seed=0, known=True):
    """People with unequal numbers of photos, and classes of very unequal frequency."""
    rng = np.random.default_rng(seed)
    frequency = 0.6 ** np.arange(classes)
    listed = []
    for domain in ("source", "target"):
        for person in range(people):
            for photo in range(int(rng.integers(3, photos))):
                label = int(rng.choice(classes, p=frequency / frequency.sum()))
                subject = f"{domain}{person}" if known else None
                listed.append(Item(domain, label, subject, f"{domain}-{person}-{photo}", None))
    return listed


def assign(listed, **settings):
    return assign_splits(listed, **{"seed": 0, "val": 0.1, "test": 0.15, "name": "x", **settings})


def test_no_subject_is_in_two_splits():
    listed = items()
    splits = assign(listed)
    assert len({(item.subject, split) for item, split in zip(listed, splits)}) == 80


@pytest.mark.parametrize(("known", "tolerance"), [(True, 0.05), (False, 0.01)])
def test_every_class_is_stratified(known, tolerance):
    listed = items(known=known)
    splits = assign(listed)
    for domain in ("source", "target"):
        for label in range(7):
            counts = Counter(s for item, s in zip(listed, splits) if (item.domain, item.label) == (domain, label))
            total = sum(counts.values())
            for split, share in (("val", 0.1), ("test", 0.15)):
                assert abs(counts[split] - share * total) <= max(2, tolerance * total), (domain, label, counts)


def test_the_seed_and_nothing_else_decides():
    listed = items()
    assert assign(listed) == assign(listed)
    assert assign(listed) != assign(listed, seed=1)


def test_equal_images_stay_together_even_across_subjects():
    listed = items()
    other = next(i for i, item in enumerate(listed) if item.subject == "source7")
    listed[other] = Item("source", 0, "source7", listed[0].content, None)
    splits = assign(listed)
    of = {item.subject: split for item, split in zip(listed, splits)}
    for seed in range(10):
        splits = assign(listed, seed=seed)
        of = {item.subject: split for item, split in zip(listed, splits)}
        assert of["source0"] == of["source7"]


def test_three_subjects_are_one_for_each_split_and_two_are_too_few():
    listed = items(people=3, photos=200)
    of = {(item.domain, split) for item, split in zip(listed, assign(listed))}
    assert len(of) == 6
    with pytest.raises(JobError, match="2 subjects or different images of the source are too few"):
        assign(items(people=2))
    with pytest.raises(JobError, match="All images of the source have the subject 'source0': check --option subject"):
        assign(items(people=1))


def test_splits_of_the_data_set_are_kept_and_lacking_ones_come_out_of_train():
    listed = [item._replace(given=("train", "test")[n % 2]) for n, item in enumerate(items(known=False))]
    splits = assign(listed)
    for item, split in zip(listed, splits):
        assert split == "test" if item.given == "test" else split in ("train", "val")
    assert splits.count("val") == pytest.approx(0.1 * splits.count("train") / 0.9, abs=3)


@pytest.mark.parametrize("official", ["source", "target"])
def test_a_domain_that_lacks_a_split_takes_it_out_of_its_own_train(official):
    """RAF-DB beside FER2013: one has train and test, the other train, val and test."""
    listed = []
    for n, item in enumerate(items(known=False)):
        splits = ("train", "train", "val", "test") if item.domain == official else ("train", "train", "test")
        listed.append(item._replace(given=splits[n % len(splits)]))
    splits = assign(listed)
    for item, split in zip(listed, splits):
        assert split == item.given or (item.domain != official and (item.given, split) == ("train", "val"))
    counts = Counter((item.domain, split) for item, split in zip(listed, splits))
    other = next(domain for domain in ("source", "target") if domain != official)
    assert counts[other, "val"] == pytest.approx(0.1 * (counts[other, "val"] + counts[other, "train"]), abs=2)


def test_equal_images_of_both_domains_go_where_both_may():
    listed = [Item("source", 0, None, f"s{i}", ("train", "test")[i % 2]) for i in range(40)]
    listed += [Item("target", 0, None, f"t{i}", ("train", "val", "test")[i % 3]) for i in range(60)]
    listed += [Item(domain, 0, None, f"both{i}", "train") for domain in ("source", "target") for i in range(20)]
    splits = assign(listed, val=0.5)
    assert set(splits[-40:]) == {"train"}
    assert "val" in splits[:40]


def test_folders_with_other_splits_in_either_domain(tmp_path):
    root = trees.folders(tmp_path / "set", domains=("Male",), splits=("train", "val", "test"), each=3)
    trees.folders(root, domains=("Female",), splits=("train", "test"), each=10, first=1000)
    manifest = build("folders", root, tmp_path / "out", shards=1)
    assert [manifest.samples("source", split) for split in ("train", "val", "test")] == [21, 21, 21]
    assert [manifest.samples("target", split) for split in ("train", "val", "test")] == [63, 7, 70]


def test_training_images_and_images_without_a_split_share_val_and_test():
    listed = [item._replace(given=("train", None)[n % 2]) for n, item in enumerate(items(known=False))]
    splits = assign(listed)
    for split, share in (("val", 0.1), ("test", 0.15)):
        assert splits.count(split) == pytest.approx(share * len(listed), abs=1)


def test_an_image_of_the_test_split_is_not_trained_on():
    given = [("a", "train"), ("a", "train"), ("a", "test"), ("b", "val"), ("b", "train"), ("c", "train"), ("d", None)]
    listed = [Item("source", 0, None, content, split) for content, split in given]
    assert repeats_of_held_out(listed) == {0, 1, 4}


def spread_out(listed, splits):
    """Return the contents that are in more than one split."""
    counts = {}
    for item, split in zip(listed, splits):
        counts.setdefault(item.content, set()).add(split)
    return {content for content, splits in counts.items() if len(splits) > 1}


def test_an_image_that_its_subject_takes_to_test_is_not_trained_on_elsewhere():
    listed = [
        Item(d, 0, None, f"{d}{g}{i}", g) for d in ("source", "target") for g in ("train", "test") for i in range(6)
    ]
    listed += [
        Item("source", 0, None, "x", "train"),
        Item("source", 0, "b", "x", None),
        Item("source", 0, "b", "y", "test"),
    ]
    listed += [
        Item("target", 0, None, "v", "val"),
        Item("target", 0, "c", "v", None),
        Item("target", 0, "c", "z", "test"),
    ]
    repeats = repeats_of_held_out(listed)
    assert repeats == {len(listed) - 6, len(listed) - 3}
    kept = [item for i, item in enumerate(listed) if i not in repeats]
    assert not spread_out(kept, assign(kept))


def test_no_content_is_in_two_splits_however_few_rows_have_one():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        listed = []
        for i in range(300):
            domain = ("source", "target")[i % 2]
            given = (None, None, "train", "val", "test")[rng.integers(5)]
            # a subject's own split, so that the data set does not contradict itself
            person = rng.integers(40)
            subject = None if person < 20 else f"{domain}{person}"
            if given is not None and subject is not None:
                given = ("train", "val", "test")[person % 3]
            listed.append(Item(domain, int(rng.integers(3)), subject, f"{rng.integers(1500)}", given))
        repeats = repeats_of_held_out(listed)
        kept = [item for i, item in enumerate(listed) if i not in repeats]
        assert not spread_out(kept, assign(kept, seed=seed))


def without_labels(listed, share, domain="target"):
    """Return the items with labels in only a share of the domain."""
    return [
        item if item.domain != domain or (n % 100) < 100 * share else item._replace(label=UNLABELLED)
        for n, item in enumerate(listed)
    ]


@pytest.mark.parametrize("share", [0, 0.05, 0.15, 0.5, 0.95, 1])
@pytest.mark.parametrize("known", [True, False])
def test_a_target_of_few_labels_is_split_in_the_same_shares(share, known):
    listed = without_labels(items(known=known), share)
    splits = assign(listed)
    women = [(item, split) for item, split in zip(listed, splits) if item.domain == "target"]
    counts = Counter(split for _, split in women)
    for split, part in (("val", 0.1), ("test", 0.15)):
        assert counts[split] == pytest.approx(part * len(women), abs=(0.04 if known else 0.02) * len(women)), counts
    labelled = sum(item.label != UNLABELLED for item, _ in women)
    tested = sum(item.label != UNLABELLED for item, split in women if split == "test")
    if not known:
        assert tested == pytest.approx(min(labelled, counts["test"]), abs=2), "those with a label first"
    men = [split for item, split in zip(items(known=known), assign(items(known=known))) if item.domain == "source"]
    assert men == [split for item, split in zip(listed, splits) if item.domain == "source"], "the source is not touched"


def test_images_without_a_label_do_not_join_a_test_split_that_the_data_set_names():
    listed = without_labels(items(known=False), 0.2)
    listed = [item._replace(given="test") if item.domain == "target" and item.label >= 0 else item for item in listed]
    for item, split in zip(listed, assign(listed)):
        assert (split == "test") == (item.given == "test") or item.domain == "source"


def test_equal_images_with_and_without_a_label_stay_together():
    listed = without_labels(items(known=False), 0.2)
    women = [n for n, item in enumerate(listed) if item.domain == "target"]
    one = next(n for n in women if listed[n].label >= 0)
    other = next(n for n in women if listed[n].label == UNLABELLED)
    listed[other] = listed[other]._replace(content=listed[one].content)
    for seed in range(10):
        splits = assign(listed, seed=seed)
        assert splits[one] == splits[other]


def test_duplicates_are_reported_and_stay_in_one_split(tmp_path):
    root = trees.folders(tmp_path / "set", each=8)
    for i in range(1, 6):
        shutil.copy(root / "Male/joy/0.jpg", root / f"Male/joy/copy{i}.jpg")
    shutil.copy(root / "Male/joy/0.jpg", root / "Male/fear/wrong.jpg")
    for seed in range(3):
        build("folders", root, tmp_path / f"out{seed}", seed=seed)
        with open(tmp_path / f"out{seed}/duplicates.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 7
        assert len({row["split"] for row in rows}) == 1
        assert {row["path"] for row in rows} >= {"Male/joy/0.jpg", "Male/fear/wrong.jpg"}
        counts = {s["source"]: s["split"] for s in samples(tmp_path / f"out{seed}")}
        assert all(counts[row["path"]] == row["split"] for row in rows)


def test_official_splits_that_share_images_lose_them_from_train(tmp_path):
    root = trees.folders(tmp_path / "set", splits=("train", "val", "test"), each=4)
    shutil.copy(root / "test/Male/joy/0.jpg", root / "train/Male/joy/again.jpg")
    manifest = build("folders", root, tmp_path / "out")
    assert manifest.left_out == {"images that equal one of a later split": 1}
    counts = {s["source"]: s["split"] for s in samples(tmp_path / "out")}
    assert counts["test/Male/joy/0.jpg"] == "test"
    assert "train/Male/joy/again.jpg" not in counts
