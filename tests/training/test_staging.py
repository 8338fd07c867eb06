"""data.stage: shards of a shared file system are read through the cache on a disk of the node."""

import pytest

from job.shards.manifest import load_manifest
from job.system.errors import JobError
from job.training.inputs import open_store


def test_staged_shards_are_copied_to_the_disk_of_the_node_and_ahead(small, tmp_path):
    cache = tmp_path / "disk of the node"
    config = small(data={"stage": True, "cache_dir": str(cache)})
    first, second, *_ = load_manifest(config.data.shards).shards("source", "train")
    store = open_store(config)
    try:
        path = store.open(first)
        assert path.parent == cache
        with open(f"{config.data.shards}/{first.path}", "rb") as original:
            assert path.read_bytes() == original.read()
        store.prefetch([second])
        assert store.open(second).parent == cache
    finally:
        store.close()


def test_staging_needs_a_folder(small):
    with pytest.raises(JobError, match=r"data\.stage=true needs data\.cache_dir"):
        open_store(small(data={"stage": True}))
    assert open_store(small(data={"cache_dir": "unused"})).remote is False


def test_a_run_may_be_staged_when_it_resumes(small):
    assert small(data={"stage": True}).fingerprint() == small().fingerprint()
