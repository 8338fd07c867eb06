"""An error that one rank finds ends all ranks, and each names that rank. Ranks are threads here, in two "hosts"."""

from types import SimpleNamespace

import pytest

from job import __main__ as main_module
from job.run_folder import restore
from job.system import ranks
from job.system.errors import JobError
from job.system.transfer import RemoteError
from job.training.streams import share_streams
from tests.support.rank_threads import HOSTS, WORLD, RankThreads


@pytest.fixture
def reported(monkeypatch, capsys):
    """`reported(action)`: what the command line prints on each rank when `action(accelerator)` raises JobError."""
    threads = RankThreads(monkeypatch, ranks, restore)

    def report(action) -> set[str]:
        threads.run(action)
        assert sorted(threads.errors) == list(range(WORLD))
        for rank, error in threads.errors.items():
            monkeypatch.setenv("RANK", str(rank))
            monkeypatch.setattr(main_module, "main", lambda *_, error=error, **__: (_ for _ in ()).throw(error))
            assert main_module.run() == 2
        return set(capsys.readouterr().err.splitlines())

    return report


def test_of_the_main_rank(reported):
    def fail() -> None:
        raise JobError("no shards")

    assert reported(lambda accelerator: ranks.on_main(accelerator, fail)) == {"error: no shards (rank 0 on host0)"}


def test_of_a_full_disk_of_the_main_rank(reported):
    def fail() -> None:
        raise OSError(28, "No space left on device", "runs/a")

    (line,) = reported(lambda accelerator: ranks.on_main(accelerator, fail))
    assert line.startswith("error: cannot write runs/a (No space left on device): make room")
    assert line.endswith("(rank 0 on host0)")


def test_of_the_first_rank_that_has_one(reported):
    problems = [None, None, ranks.Problem("no shards", 2, "host1"), ranks.Problem("none", 3, "host1")]
    printed = reported(lambda accelerator: ranks.raise_first(accelerator, problems))
    assert printed == {"error: no shards (rank 2 on host1)"}


def test_of_a_rank_that_cannot_fetch_a_checkpoint(reported, small, monkeypatch, tmp_path):
    """The second host does not see the run folder."""
    monkeypatch.setattr(restore.os.path, "isfile", lambda path: ranks.socket.gethostname() == "host0")
    monkeypatch.setattr(restore, "_fetch", lambda *_: (_ for _ in ()).throw(RemoteError("it stalled")))
    config, path = small(mirror="s3://bucket/runs"), tmp_path / "step_00000002"
    (line,) = reported(lambda each: restore.fetch_where_missing(config, None, each, path, lambda: None))
    assert line == f"error: step_00000002 cannot be fetched from {config.mirrored} (it stalled) (rank 2 on host1)"


def test_of_the_number_of_streams(reported, small, monkeypatch):
    monkeypatch.setattr("job.training.streams.find_checkpoint", lambda folder: None)
    manifest = SimpleNamespace(shards=lambda *_: (_ for _ in ()).throw(JobError("no domain women")))
    config = small(data={"streams": None})
    printed = reported(lambda accelerator: share_streams(config, manifest, accelerator))
    assert printed == {"error: no domain women (rank 0 on host0)"}


def test_a_rank_alone_names_nobody(monkeypatch):
    alone = SimpleNamespace(num_processes=1, process_index=0, is_main_process=True)
    monkeypatch.setattr(ranks, "broadcast_object_list", lambda values: None)
    with pytest.raises(JobError) as caught:
        ranks.on_main(alone, lambda: (_ for _ in ()).throw(JobError("no shards")))
    assert caught.value.rank is None


def test_hosts_and_results_reach_every_rank(monkeypatch):
    threads = RankThreads(monkeypatch, ranks)
    assert threads.run(ranks.rank_hosts) == [HOSTS] * WORLD
    assert threads.run(lambda accelerator: ranks.on_main(accelerator, lambda: threads.rank + 7)) == [7] * WORLD
