"""Shards in folds, and what a run reads of them."""

from collections import Counter

import pytest

from job.shards.folds import arrange, count_folds, fold_names
from job.shards.inspection.inspect_shards import inspect_shards
from job.shards.manifest import load_manifest
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.subjects import read_subjects
from job.shards.reading.whole_split import read_split
from job.shards.writing.folds import assign_folds
from job.shards.writing.splits import Item
from job.shards.writing.write_shards import write_shards
from job.system.errors import JobError
from job.vocabulary import DOMAINS
from tests.support import trees
from tests.support.folded import FOLDS, PICTURES, SUBJECTS


def arranged(folder, fold=None, protocol="held_out"):
    return arrange(load_manifest(folder), fold, protocol, "source", "target")


def keys(manifest, folder, domain, split) -> list[str]:
    batches = read_split(manifest, ShardStore(folder), domain, split, labelled=False)
    return [key for _, _, names in batches for key in names]


def people(manifest, folder, domain, split) -> set[str]:
    found = read_subjects(manifest, ShardStore(folder), domain, split)
    assert len(found) == manifest.samples(domain, split)
    assert None not in found
    return set(found)


def test_folds_divide_each_domain_by_subject(folded):
    manifest = load_manifest(folded)
    assert count_folds(manifest) == FOLDS
    for domain in DOMAINS:
        assert tuple(manifest.domains[domain]) == fold_names(FOLDS)
        parts = [people(manifest, folded, domain, fold) for fold in fold_names(FOLDS)]
        assert [len(part) for part in parts] == [SUBJECTS // FOLDS] * FOLDS
        assert len(set.union(*parts)) == SUBJECTS
        assert all(manifest.samples(domain, fold) == PICTURES * 2 for fold in fold_names(FOLDS))


@pytest.mark.parametrize("fold", range(FOLDS))
def test_a_run_trains_on_the_other_folds_and_tests_on_its_own(folded, fold):
    whole, manifest = load_manifest(folded), arranged(folded, fold)
    for domain in DOMAINS:
        held = people(whole, folded, domain, f"fold-{fold}")
        assert people(manifest, folded, domain, "test") == held
        assert len(people(manifest, folded, domain, "train") - held) == SUBJECTS - len(held)
        assert not people(manifest, folded, domain, "train") & held
    assert people(manifest, folded, "source", "val") == people(manifest, folded, "source", "test")
    assert keys(manifest, folded, "target", "val") == keys(manifest, folded, "target", "train")


def test_the_labels_of_the_target_are_in_its_test_alone(folded):
    for protocol in ("held_out", "transductive"):
        manifest = arranged(folded, 1, protocol)
        assert [manifest.labels("target", split) for split in ("train", "val")] == [0, 0]
        assert manifest.labelled("target", "test")
        assert all(manifest.labelled("source", split) for split in ("train", "val", "test"))
        with pytest.raises(JobError, match="carries no labels"):
            read_split(manifest, ShardStore(folded), "target", "train", labelled=True)


def test_transductive_adapts_to_exactly_the_images_that_it_tests(folded):
    manifest = arranged(folded, 1, "transductive")
    tested = keys(manifest, folded, "target", "test")
    assert keys(manifest, folded, "target", "train") == keys(manifest, folded, "target", "val") == tested
    assert len(set(tested)) == SUBJECTS * PICTURES
    assert not people(manifest, folded, "source", "train") & people(manifest, folded, "source", "val")


def test_transductive_on_splits_trains_on_all_of_the_source_but_val(faces):
    whole, manifest = load_manifest(faces), arranged(faces, None, "transductive")
    assert manifest.samples("source", "train") == 96 + 35
    assert manifest.shards("source", "test") == manifest.shards("source", "val") == whole.shards("source", "val")
    assert manifest.samples("target", "train") == manifest.samples("target", "test") == 96 + 33 + 35
    assert arranged(faces) == whole


def test_every_arrangement_has_a_hash_of_its_own(folded, faces):
    hashes = [
        arranged(folded, fold, protocol).hash for fold in range(FOLDS) for protocol in ("held_out", "transductive")
    ]
    hashes += [arranged(faces).hash, arranged(faces, None, "transductive").hash]
    assert len(set(hashes)) == len(hashes)
    assert arranged(folded, 2).hash == arranged(folded, 2).hash
    assert arranged(faces).hash == load_manifest(faces).hash, "runs of earlier versions resume"


@pytest.mark.parametrize(
    ("fold", "message"),
    [(None, "in 3 folds: choose one with data.fold=0 to 2"), (3, "the folds 0 to 2")],
)
def test_a_fold_that_is_missing_or_unknown_is_refused(folded, fold, message):
    with pytest.raises(JobError, match=message):
        arranged(folded, fold)


def test_a_fold_of_ordinary_shards_is_refused(faces):
    with pytest.raises(JobError, match="needs shards in folds: write them with --option folds=5"):
        arranged(faces, 0)


def test_the_same_command_accepts_finished_folds_and_refuses_others(folded):
    settings = {"size": 48, "shards": 8, "workers": 1, "progress": False}
    options = {"train": SUBJECTS * PICTURES, "per_subject": PICTURES}
    assert write_shards("faces", None, folded, options=options | {"folds": FOLDS}, **settings) == load_manifest(folded)
    with pytest.raises(JobError, match="folds is 3 there, 2 here"):
        write_shards("faces", None, folded, options=options | {"folds": 2}, **settings)


def test_files_are_divided_into_folds_too(tmp_path):
    root = trees.kdef(tmp_path / "kdef", people=8)
    out = tmp_path / "out"
    manifest = write_shards("kdef", root, out, size=16, workers=1, options={"folds": 4}, progress=False)
    for domain in DOMAINS:
        parts = [people(manifest, out, domain, fold) for fold in fold_names(4)]
        assert sum(map(len, parts)) == len(set.union(*parts)) >= 4
    assert "fold-3" in inspect_shards(out, verify=True)


def items(count, subjects, labels=4, domain="source"):
    return [Item(domain, i % labels, f"{domain} {i % subjects}", f"{domain} {i}", None) for i in range(count)]


def test_assignment_depends_on_the_seed_and_is_stratified():
    listed = items(120, 30, labels=4) + items(200, 50, labels=5, domain="target")
    one, again, other = (assign_folds(listed, 5, seed=seed, name="x") for seed in (0, 0, 1))
    assert one == again != other
    for domain, size in (("source", 24), ("target", 40)):
        assert set(Counter(f for f, item in zip(one, listed) if item.domain == domain).values()) == {size}


def test_equal_images_and_given_splits_do_not_leak():
    listed = [item._replace(given="test" if i % 2 else "train") for i, item in enumerate(items(60, 20))]
    listed += items(60, 20, domain="target")
    listed[70] = listed[70]._replace(content=listed[0].content)  # one picture in both domains
    folds = assign_folds(listed, 4, seed=3, name="x")
    assert folds[0] == folds[70]
    assert len({(item.subject, fold) for item, fold in zip(listed, folds)}) == 40


@pytest.mark.parametrize(
    ("subjects", "folds", "message"),
    [(3, 5, "3 subjects or different images of the source are too few for 5 folds"), (9, 1, "give 2 or more")],
)
def test_too_few_subjects_are_refused(subjects, folds, message):
    with pytest.raises(JobError, match=message):
        assign_folds(items(30, subjects) + items(30, 9, domain="target"), folds, seed=0, name="x")


def test_a_pattern_that_gives_all_images_one_subject_is_named():
    with pytest.raises(
        JobError, match=r"too few for 3 folds.*All images of the target have the subject 'target 0': check"
    ):
        assign_folds(items(30, 9) + items(30, 1, domain="target"), 3, seed=0, name="x")


def test_a_target_alone_is_divided_too():
    folds = assign_folds(items(60, 20, domain="target"), 4, seed=0, name="x")
    assert set(Counter(folds).values()) == {15}
