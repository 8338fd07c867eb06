"""One rank of a node reads the manifest, the others map its copy. Ranks are threads here, in two "hosts"."""

from types import SimpleNamespace

import pytest

from job.evaluation.predictions import open_shards_of
from job.shards.manifest import load_manifest
from job.training import shared_manifest
from tests.support.rank_threads import HOSTS, RankThreads


@pytest.fixture
def on_ranks(monkeypatch, tmp_path):
    """`on_ranks(action)`: (what `action(accelerator)` returns on each of 4 ranks, the ranks that read shards)."""
    reads = []
    folder = tmp_path / "shared"
    folder.mkdir()
    monkeypatch.setattr(shared_manifest, "SHARED_MEMORY", str(folder))
    threads = RankThreads(monkeypatch, shared_manifest)

    def load(*arguments, **settings):
        reads.append(threads.rank)
        return load_manifest(*arguments, **settings)

    for module in ("job.training.inputs", "job.evaluation.predictions"):
        monkeypatch.setattr(f"{module}.load_manifest", load)

    def start(action):
        results = threads.run(action)
        assert not list(folder.iterdir())
        return results, sorted(reads)

    return start


@pytest.mark.parametrize("visible", [True, False], ids=["shared memory", "each in a container of its own"])
@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_one_rank_of_each_host_reads_the_shards(small, monkeypatch, on_ranks, visible, command):
    if not visible:
        monkeypatch.setattr(shared_manifest, "map_copy", lambda path: (_ for _ in ()).throw(FileNotFoundError(path)))
    config = small()
    expected = load_manifest(config.data.shards)
    loaded = SimpleNamespace(config=config, class_names=expected.class_names, size=expected.size, gray=False)

    def read(accelerator):
        if command == "train":
            return shared_manifest.load_shared_manifest(config, accelerator, HOSTS)
        return open_shards_of(loaded, "checkpoint", None, False, accelerator, HOSTS)[0]

    results, reads = on_ranks(read)
    assert reads == ([0, 2] if visible else [0, 1, 2, 3])
    assert {manifest.hash for manifest in results} == {expected.hash}
    assert list(results[3].shards("target", "train")) == list(expected.shards("target", "train"))


def test_a_mistake_ends_every_rank(small, on_ranks, tmp_path):
    config = small(data={"shards": str(tmp_path / "nowhere")})
    results, _ = on_ranks(lambda accelerator: shared_manifest.load_shared_manifest(config, accelerator, HOSTS))
    assert len(set(results)) == 1
    assert results[0].startswith(f"no shards at {tmp_path}/nowhere")
