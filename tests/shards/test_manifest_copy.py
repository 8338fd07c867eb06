"""The manifest as a table: a tenth of the memory, shared by the processes of a node, and the same to its readers."""

import pytest

from job.shards import manifest as manifest_module
from job.shards.manifest import load_manifest
from job.shards.manifest_copy import map_copy, write_copy
from job.system.errors import JobError
from tests.support.manifests import manifest_alone


def copy_of(manifest, path):
    with open(path, "wb") as file:
        write_copy(manifest.compact(), file)
    mapped = map_copy(path)
    path.unlink()  # the tables stay readable
    return mapped


@pytest.mark.parametrize("which", ["toy", "labelled", "alone"])
def test_a_copy_says_what_the_manifest_says(made, made_with_target_labels, tmp_path, which):
    place = {"toy": made, "labelled": made_with_target_labels}.get(which) or manifest_alone(tmp_path / "m", 30)
    whole = load_manifest(place)
    mapped = copy_of(whole, tmp_path / "copy")
    for made_from in (whole.compact(), mapped):
        assert made_from.hash == whole.hash
        assert made_from.model_dump(exclude={"domains"}) == whole.model_dump(exclude={"domains"})
        for domain, splits in whole.domains.items():
            for split, shards in splits.items():
                table = made_from.shards(domain, split)
                assert list(table) == list(shards)
                assert table[-1] == shards[-1]
                assert table[1:3] == shards[1:3]
                for question in ("samples", "labels", "labelled", "class_counts"):
                    assert getattr(made_from, question)(domain, split) == getattr(whole, question)(domain, split)
        with pytest.raises(JobError, match="contain no source/nowhere"):
            made_from.shards("source", "nowhere")


def test_an_entry_of_the_table_that_is_not_there(made):
    table = load_manifest(made).table("source", "train")
    with pytest.raises(IndexError):
        table[len(table)]


def test_a_mapped_manifest_is_not_parsed_again(made, tmp_path, monkeypatch):
    mapped = copy_of(load_manifest(made), tmp_path / "copy")
    monkeypatch.setattr(manifest_module, "ShardInfo", None)
    monkeypatch.setattr(manifest_module.json, "dumps", None)  # what the hash is computed from
    assert len(mapped.hash) == 64
    assert mapped.samples("source", "train") == 60
