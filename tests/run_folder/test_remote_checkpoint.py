"""A checkpoint of a run's copy in an object store is used by its address, as one in a folder is."""

import json
import tempfile
from pathlib import Path

import pytest

from job.evaluation.load import load_model
from job.run_folder import checkpoint as checkpoints
from job.run_folder.mirror import Mirror
from job.run_folder.pointers import BEST, point
from job.run_folder.remote_checkpoint import address_of
from job.system import object_store, ranks, transfer
from job.system.object_store import ObjectStore
from job.training import shared_checkpoint
from tests.support import trees
from tests.support.rank_threads import HOSTS, WORLD, RankThreads
from tests.support.s3_server import SECRET, failing, put_folder


@pytest.fixture(autouse=True)
def impatient(monkeypatch, tmp_path):
    """Failed transfers are repeated at once, and what is fetched lies below tmp_path."""
    monkeypatch.setattr(transfer, "RETRY_SECONDS", 0.0)
    (tmp_path / "fetched").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "fetched"))


@pytest.fixture
def run(checkpoint_of, s3, tmp_path):
    """A run folder with one checkpoint, which is the best, and the address of its mirror."""
    path = checkpoint_of(optimizer={"lr": 0.1})
    point(path.parent, BEST, path)
    folder, address = path.parents[1], f"{s3.bucket}/{tmp_path.name}/source"
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / "model_card.md").write_text("# Model card: of the mirror\n")
    mirror = Mirror(address, folder)
    mirror.close(20)
    return folder, address


@pytest.fixture
def used(job, tmp_path):
    """`used(checkpoint)`: what predict, evaluate and export write with it."""
    trees.put(tmp_path / "photos" / "x.jpg", 5)

    def use(checkpoint) -> list:
        out, words = tmp_path / "out", ("--checkpoint", checkpoint)
        out.mkdir(exist_ok=True)
        for command in (
            ("predict", *words, "--out", out / "table.csv", tmp_path / "photos"),
            ("evaluate", *words, "--split", "val", "--out", out / "results.json"),
            ("export", *words, "--out", out / "model"),
        ):
            code, _, errors = job(*command)
            assert code == 0, errors
        results = json.loads((out / "results.json").read_text())
        assert results.pop("checkpoint") == str(checkpoint)
        card = (out / "model" / "README.md").read_text()
        return [(out / "table.csv").read_text(), results, card, (out / "model" / "model.safetensors").read_bytes()]

    return use


def test_predict_evaluate_and_export_do_the_same_with_its_address(run, used, s3, tmp_path):
    folder, address = run
    expected = used(folder / "checkpoints" / "best")
    s3.requests.clear()
    assert used(f"{address}/checkpoints/best") == expected
    assert "of the mirror" in expected[2]
    assert not [request for request in s3.requests if "trainer.pt" in request]
    assert not list((tmp_path / "fetched").iterdir())


def test_a_step_a_slash_at_the_end_and_a_lost_slash(run):
    folder, address = run
    names = load_model(folder / "checkpoints" / "best").model.state_dict().keys()
    for place in (f"{address}/checkpoints/step_00000007/", Path(f"{address}/checkpoints/best")):
        assert load_model(place).model.state_dict().keys() == names


def test_a_copy_that_followed_links(run, s3):
    folder, address = run
    put_folder(folder / "checkpoints" / "step_00000007", f"{address}-copied/checkpoints/best")
    assert load_model(f"{address}-copied/checkpoints/best").step == 7


@pytest.mark.parametrize(
    ("below", "says"),
    [
        ("", "{address} is not a checkpoint: give one, for instance {address}/checkpoints/best"),
        (
            "/checkpoints",
            "{address}/checkpoints is not a checkpoint: give one, for instance {address}/checkpoints/best",
        ),
        ("/checkpoints/step_00000008", "no complete checkpoint at {address}/checkpoints/step_00000008: give one such"),
        ("-2/checkpoints/best", "no checkpoint at {address}-2/checkpoints/best: the run has not been evaluated yet; "),
        (
            "-3/checkpoints/best",
            "{address}-3/checkpoints/best does not name a checkpoint: give one such as s3://BUCKET",
        ),
        ("-4/checkpoints/best", "no complete checkpoint at {address}-4/checkpoints/best: give one such as s3://BUCKET"),
    ],
)
def test_an_address_without_a_checkpoint_is_one_line_that_helps(run, job, below, says):
    _, address = run
    ObjectStore(f"{address}-2/checkpoints").write("latest", b"step_00000004\n")
    ObjectStore(f"{address}-3/checkpoints").write("best", b"../../other\n")
    code, _, errors = job("predict", "--checkpoint", address + below, "photos")
    assert (code, len(errors.splitlines())) == (2, 1)
    assert errors.startswith("error: " + says.format(address=address))


def test_a_store_that_does_not_answer_is_one_line_that_names_it(run, job, s3, monkeypatch):
    _, address = run
    monkeypatch.setattr(object_store, "PERIOD_SECONDS", 0.3)
    s3.fault = failing("HEAD", "", "error")
    code, _, errors = job("predict", "--checkpoint", f"{address}/checkpoints/best", "photos")
    line = errors.splitlines()[-1]
    assert code == 2
    assert line.startswith(f"error: cannot read {address}/checkpoints/best (")
    assert line.endswith("; 3 attempts): check the address, the network and the credentials")
    assert SECRET not in errors


def test_damaged_weights_are_refused(run, job, tmp_path):
    _, address = run
    store, name = ObjectStore(f"{address}/checkpoints/step_00000007"), "model.safetensors"
    content = store.read(name, 1 << 30)
    store.write(name, content[:-1] + bytes([content[-1] ^ 1]))
    code, _, errors = job("export", "--checkpoint", f"{address}/checkpoints/best", "--out", tmp_path / "model")
    assert code == 2
    assert errors.splitlines()[-1].startswith(f"error: cannot read {address}/checkpoints/step_00000007 (")
    assert "whose sha256 is not that of meta.json" in errors
    assert not list((tmp_path / "fetched").iterdir())


def test_half_a_checkpoint_is_refused(run, job):
    _, address = run
    ObjectStore(f"{address}/checkpoints/step_00000007").delete("meta.json")
    code, _, errors = job("predict", "--checkpoint", f"{address}/checkpoints/best", "photos")
    assert (code, len(errors.splitlines())) == (2, 1)
    assert errors.startswith(f"error: no complete checkpoint at {address}/checkpoints/step_00000007")


@pytest.mark.parametrize("visible", [True, False], ids=["seen by its node", "each in a container of its own"])
def test_one_rank_of_each_node_fetches_it(run, s3, monkeypatch, visible):
    folder, address = run
    threads = RankThreads(monkeypatch, ranks, shared_checkpoint)
    expected = checkpoints.read_checkpoint(folder / "checkpoints" / "best").weights()
    if not visible:
        monkeypatch.setattr(shared_checkpoint.os.path, "isfile", lambda path: False)
    s3.requests.clear()

    def load(accelerator):
        place = f"{address}/checkpoints/best"
        with shared_checkpoint.fetched_checkpoint(place, accelerator, HOSTS) as found:
            weights = found.weights()
            return all(bool((weights[name] == value).all()) for name, value in expected.items())

    assert threads.run(load) == [True] * WORLD
    fetched = [r for r in s3.requests if r.startswith("GET") and r.endswith("/model.safetensors")]
    assert len(fetched) == (2 if visible else 6)
    assert len([r for r in s3.requests if r.startswith("GET") and r.endswith("/best")]) == 1  # the same for all


def test_an_error_of_one_node_ends_all_ranks_and_names_it(run, s3, monkeypatch):
    _, address = run
    threads = RankThreads(monkeypatch, ranks, shared_checkpoint)
    fetch = shared_checkpoint.fetch
    damaged = lambda *words: fetch(f"{address}/none", words[1]) if threads.rank == 2 else fetch(*words)  # noqa: E731
    monkeypatch.setattr(shared_checkpoint, "fetch", damaged)

    def load(accelerator):
        place = f"{address}/checkpoints/best"
        with shared_checkpoint.fetched_checkpoint(place, accelerator, HOSTS) as found:
            return found.step

    (said,) = set(threads.run(load))
    assert said.startswith(f"no complete checkpoint at {address}/none")
    assert {error.rank for error in threads.errors.values()} == {(2, "host1")}


def test_a_model_on_the_hub_is_no_address_and_a_run_copied_there_is():
    assert address_of("hf://anna/faces") is None
    assert address_of(Path("hf://anna/faces@refs/pr/1")) is None
    assert address_of("hf://datasets/anna/runs/faces/checkpoints/best") == (
        "hf://datasets/anna/runs/faces/checkpoints/best"
    )
    assert address_of(Path("gs://bucket/runs/a/checkpoints/best")) == "gs://bucket/runs/a/checkpoints/best"
    assert address_of("az://box/a/") == "az://box/a"
    assert address_of("runs/a/checkpoints/best") is None
