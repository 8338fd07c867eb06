"""A run is copied to an object store while it trains, and resumes from there when its folder is gone."""

import json
import os
import shutil
import signal
import threading
import time

import pytest
import torch
from safetensors.torch import load_file

from job.run_folder import restore, run_folder
from job.run_folder.mirror import Mirror
from job.shards.manifest import load_manifest
from job.system import object_store, transfer
from job.system.errors import JobError
from job.system.object_store import ObjectStore
from tests.support.rank_threads import WORLD, RankThreads
from tests.support.s3_server import failing
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Repeat what fails at once, and wait for what is only slow."""
    monkeypatch.setattr(transfer, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(run_folder, "_LAST_SECONDS", 240.0)


@pytest.fixture
def mirrored(small, s3, tmp_path):
    """Six steps, a checkpoint every second one, two kept; the copy is at an address of the test's own."""
    return small(name="mirrored", mirror=f"{s3.bucket}/{tmp_path.name}", train={"steps": 6, "keep_last": 2})


def names_in(config) -> set[str]:
    return set(ObjectStore(config.mirrored).names())


def checkpoints(config) -> set[str]:
    """The checkpoints in the store that are complete."""
    return {name.split("/")[1] for name in names_in(config) if name.endswith("/meta.json")}


def last_weights(config) -> torch.Tensor:
    return load_file(config.run_folder / "checkpoints" / "latest" / "model.safetensors")["w"]


@pytest.fixture
def whole(pretend, small):
    """The weights of a run of one piece, and its metrics."""
    config = small(name="whole", train={"steps": 6, "keep_last": 2})
    pretend(config)
    return last_weights(config), (config.run_folder / "metrics.jsonl").read_text()


def test_a_run_whose_folder_is_gone_resumes_exactly(pretend, mirrored, whole):
    pretend(mirrored, stop_after=4)
    best = os.readlink(mirrored.run_folder / "checkpoints" / "best")
    shutil.rmtree(mirrored.run_folder)
    pretend(mirrored)
    folder = mirrored.run_folder
    assert torch.equal(last_weights(mirrored), whole[0])
    assert (folder / "metrics.jsonl").read_text() == whole[1]
    assert os.readlink(folder / "checkpoints" / "best") == best
    assert "resuming from step 4 of 6" in (folder / "log.txt").read_text()


def test_the_copy_is_a_run_folder_with_the_same_checkpoints(pretend, mirrored, tmp_path):
    pretend(mirrored)
    local = {path.name for path in (mirrored.run_folder / "checkpoints").glob("step_*")}
    assert checkpoints(mirrored) == local == {"step_00000002", "step_00000004", "step_00000006"}  # two, and the best
    assert {name.split("/")[1] for name in names_in(mirrored) if "step_" in name} == local  # and no leftovers
    store, copy = ObjectStore(mirrored.mirrored), tmp_path / "copy"
    for name in store.names():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(store.read(name, 1 << 30))
    assert (copy / "checkpoints" / "latest").read_text() == "step_00000006\n"
    assert json.loads((copy / "status.json").read_text()) == {"status": "finished", "exit_code": 0}
    assert (copy / "metrics.jsonl").read_text() == (mirrored.run_folder / "metrics.jsonl").read_text()


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("model.safetensors", "trainer.pt")]


@pytest.mark.parametrize("file", [*SLOW, "meta.json"])
def test_half_a_checkpoint_is_never_resumed_from(pretend, mirrored, s3, whole, file):
    pretend(mirrored, stop_after=2)
    s3.fault = failing("PUT", f"step_00000004/{file}", "error")
    pretend(mirrored, stop_after=4)  # an upload that fails does not stop the run
    s3.fault = lambda environ: None
    assert checkpoints(mirrored) == {"step_00000002"}
    shutil.rmtree(mirrored.run_folder)
    pretend(mirrored)
    assert torch.equal(last_weights(mirrored), whole[0])
    assert "resuming from step 2 of 6" in (mirrored.run_folder / "log.txt").read_text()
    assert checkpoints(mirrored) == {"step_00000002", "step_00000004", "step_00000006"}


def test_what_could_not_be_copied_follows_at_the_next_start(pretend, mirrored, s3):
    s3.fault = failing("PUT", "", "error")
    pretend(mirrored, stop_after=4)
    assert not names_in(mirrored)
    s3.fault = lambda environ: None
    pretend(mirrored, stop_after=4)
    assert checkpoints(mirrored) == {"step_00000002", "step_00000004"}


def test_a_damaged_copy_is_skipped(pretend, mirrored, whole):
    pretend(mirrored, stop_after=4)
    store, name = ObjectStore(mirrored.mirrored), "checkpoints/step_00000004/model.safetensors"
    content = store.read(name, 1 << 30)
    store.write(name, content[:-1] + bytes([content[-1] ^ 1]))
    shutil.rmtree(mirrored.run_folder)
    pretend(mirrored)
    assert torch.equal(last_weights(mirrored), whole[0])


def test_a_newer_copy_is_preferred_to_an_old_folder(pretend, mirrored, whole, tmp_path):
    """Another node has the folder of an earlier start on its disk."""
    pretend(mirrored, stop_after=2)
    shutil.copytree(mirrored.run_folder, tmp_path / "old", symlinks=True)
    pretend(mirrored, stop_after=4)
    shutil.rmtree(mirrored.run_folder)
    shutil.copytree(tmp_path / "old", mirrored.run_folder, symlinks=True)
    pretend(mirrored)
    assert torch.equal(last_weights(mirrored), whole[0])
    assert "resuming from step 4 of 6" in (mirrored.run_folder / "log.txt").read_text()


def test_the_copy_of_another_run_is_refused_and_left_alone(pretend, mirrored, small):
    pretend(mirrored, stop_after=2)
    before = names_in(mirrored)
    other = small(name="mirrored", mirror=mirrored.mirror, seed=6, output=f"{mirrored.output}-2")
    with pytest.raises(JobError, match="started with another configuration"):
        pretend(other, stop_after=2)
    alone = small(name="mirrored", seed=6, output=f"{mirrored.output}-3")
    pretend(alone, stop_after=2)
    with pytest.raises(JobError, match="is the copy of another run"):
        pretend(alone.model_copy(update={"mirror": mirrored.mirror}), stop_after=4)
    assert names_in(mirrored) == before


def test_a_store_that_cannot_be_read_ends_only_a_start_without_a_folder(pretend, mirrored, s3, monkeypatch, capfd):
    pretend(mirrored, stop_after=2)
    monkeypatch.setattr(object_store, "PERIOD_SECONDS", 0.3)
    s3.fault = failing("GET", "", "error")
    pretend(mirrored, stop_after=4)
    assert "resuming from the run folder" in capfd.readouterr().err
    shutil.rmtree(mirrored.run_folder)
    with pytest.raises(JobError, match=r"cannot read the copy of the run in s3://.*start without it \(mirror=null\)"):
        pretend(mirrored)
    assert not (mirrored.run_folder / "checkpoints").exists()


def test_the_end_of_a_run_does_not_wait_forever(pretend, mirrored, s3, monkeypatch):
    monkeypatch.setattr(run_folder, "_MIRROR_SECONDS", 0.3)
    monkeypatch.setattr(run_folder, "_SLICE_SECONDS", 0.1)
    monkeypatch.setattr(run_folder, "_LAST_SECONDS", 0.1)
    s3.fault = failing("PUT", "model.safetensors", "held")  # until the run has ended
    waits, wait = [], Mirror.wait
    monkeypatch.setattr(Mirror, "wait", lambda mirror, seconds: waits.append(seconds) or wait(mirror, seconds))
    pretend(mirrored)
    assert len(waits) <= 6, "each takes 0.1 s"
    assert "is not complete" in (mirrored.run_folder / "log.txt").read_text()
    assert not checkpoints(mirrored)


def test_a_checkpoint_that_is_deleted_during_its_upload_arrives(checkpoint_of, s3, tmp_path):
    path = checkpoint_of()
    mirror = Mirror(f"{s3.bucket}/deleted", path.parents[1])
    s3.fault = failing("PUT", "", "held", times=1)
    expected = {name: (path / name).read_bytes() for name in ("model.safetensors", "trainer.pt", "meta.json")}
    mirror.update()
    eventually(lambda: any(request.startswith("PUT") for request in s3.requests), seconds=240)
    shutil.rmtree(path)
    s3.released.set()
    assert mirror.wait(240)
    store = ObjectStore(f"{s3.bucket}/deleted/checkpoints/{path.name}")
    assert {name: store.read(name, 1 << 30) for name in expected} == expected
    mirror.close(5)


def test_one_rank_of_each_node_that_lacks_a_checkpoint_fetches_it(pretend, mirrored, s3, faces, monkeypatch):
    """Ranks are threads in two "hosts"; the second one does not see the run folder until its first rank has it."""
    pretend(mirrored, stop_after=2)
    path = mirrored.run_folder / "checkpoints" / "step_00000002"
    ranks, asked = RankThreads(monkeypatch, restore), []
    seen = os.path.isfile
    monkeypatch.setattr(restore.os.path, "isfile", lambda each: ranks.rank < 2 and seen(each))
    monkeypatch.setattr(restore, "on_main", lambda accelerator, action: ranks.rank or action())
    manifest = load_manifest(faces)
    s3.requests.clear()

    def fetch(accelerator):
        restore.fetch_where_missing(mirrored, manifest, accelerator, path, lambda: asked.append(ranks.rank))

    assert ranks.run(fetch) == [None] * WORLD
    assert asked == [0]
    assert sum(request.startswith("GET") and "model.safetensors" in request for request in s3.requests) == 1
    assert {each.name for each in path.iterdir()} == {"model.safetensors", "trainer.pt", "meta.json"}


@pytest.fixture
def ended_by_a_launcher(s3, monkeypatch):
    """SIGTERM reaches this process while the run ends and a file is uploaded; it would raise SystemExit."""

    def die(*_) -> None:
        raise SystemExit("killed by SIGTERM")

    waiting, wait = threading.Event(), Mirror.wait
    monkeypatch.setattr(Mirror, "wait", lambda mirror, seconds: waiting.set() or wait(mirror, seconds))

    def at(file: str, held: bool) -> None:
        chosen = failing("PUT", file, "held" if held else "whole", times=1)

        def fault(environ):
            found = chosen(environ)
            if found and waiting.wait(240):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.1)  # the signal comes before the answer
            return found

        s3.fault = fault

    previous = signal.signal(signal.SIGTERM, die)
    yield at
    signal.signal(signal.SIGTERM, previous)


def test_after_an_error_the_copy_is_completed_though_the_launcher_ends_the_rank(pretend, mirrored, ended_by_a_launcher):
    """The other ranks end at once after an error, and torch's launcher sends SIGTERM to the one that copies."""
    ended_by_a_launcher("step_00000004/model.safetensors", held=False)
    with pytest.raises(JobError, match="not a number"):
        pretend(mirrored, stop_after=4, error=JobError("not a number"))
    assert "step_00000004" in checkpoints(mirrored)
    status = json.loads(ObjectStore(mirrored.mirrored).read("status.json", 1000))
    assert (status["status"], status["message"]) == ("failed", "not a number")


def test_a_request_to_stop_ends_the_wait_for_the_mirror_and_not_the_rank(
    pretend, mirrored, ended_by_a_launcher, monkeypatch
):
    monkeypatch.setattr(run_folder, "_SLICE_SECONDS", 0.1)
    monkeypatch.setattr(run_folder, "_LAST_SECONDS", 0.1)
    ended_by_a_launcher("step_00000004/model.safetensors", held=True)  # until the run has ended
    pretend(mirrored, stop_after=4)
    assert "is not complete" in (mirrored.run_folder / "log.txt").read_text()
    assert json.loads((mirrored.run_folder / "status.json").read_text()) == {"status": "stopped", "exit_code": 75}
