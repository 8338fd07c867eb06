"""One rank of a node reads the manifest, the others map its copy. Ranks are threads here, in two "hosts"."""

import threading
from types import SimpleNamespace

import pytest

from job.shards.manifest import load_manifest
from job.training import shared_manifest
from tests.support.gatherer import Gatherer


@pytest.mark.parametrize("visible", [True, False], ids=["shared memory", "each in a container of its own"])
def test_one_rank_of_each_host_reads_the_shards(small, monkeypatch, tmp_path, visible):
    world, reads, results = 4, [], {}
    gatherer, local = Gatherer(world), threading.local()
    folder = tmp_path / "shared"
    folder.mkdir()
    monkeypatch.setattr(shared_manifest, "SHARED_MEMORY", str(folder))
    monkeypatch.setattr(shared_manifest.socket, "gethostname", lambda: f"host{local.rank // 2}")
    monkeypatch.setattr(shared_manifest, "gather_object", lambda value: gatherer(local.rank, value))
    if not visible:
        monkeypatch.setattr(shared_manifest, "map_copy", lambda path: (_ for _ in ()).throw(FileNotFoundError(path)))

    def load(*arguments, **settings):
        reads.append(local.rank)
        return load_manifest(*arguments, **settings)

    monkeypatch.setattr("job.training.inputs.load_manifest", load)
    config = small()

    def run(rank: int) -> None:
        local.rank = rank
        accelerator = SimpleNamespace(num_processes=world, process_index=rank, wait_for_everyone=gatherer.barrier.wait)
        results[rank] = shared_manifest.load_shared_manifest(config, accelerator)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(reads) == ([0, 2] if visible else [0, 1, 2, 3])
    expected = load_manifest(config.data.shards)
    assert {results[rank].hash for rank in range(world)} == {expected.hash}
    assert list(results[3].shards("target", "train")) == list(expected.shards("target", "train"))
    assert not list(folder.iterdir())
