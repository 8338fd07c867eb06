"""The number of streams: chosen once from batch and shards, kept by the run, shared by as many ranks as divide it."""

import json
from types import SimpleNamespace

import pytest

from job.config.load import load_config
from job.run_folder.finished import is_finished
from job.shards.manifest import load_manifest
from job.system.errors import JobError
from job.train import train
from job.training import streams
from job.training.inputs import check_data
from job.training.streams import check_settled, with_streams
from tests.support.manifests import manifest_alone
from tests.support.running import REPO, rows


def chosen(config) -> int:
    return with_streams(config, load_manifest(config.data.shards)).data.streams


@pytest.mark.parametrize("shards", [1000, 10_000])
def test_512_ranks_train_with_the_recipe_of_the_documentation(job, tmp_path, shards):
    """64 nodes of 8 GPUs: docs/slurm.md."""
    url = manifest_alone(tmp_path / "shards", shards)
    words = (f"data.shards={url}", "data.global_batch_size=4096", "model.backbone=compact", "name=large")
    command = ("train", "--check", "--config", REPO / "configs" / "faces.yaml", "--nodes", 64, "--ranks", 8, *words)
    code, output, errors = job(*command, f"output={tmp_path}")
    assert code == 0, errors
    said, for_scripts = output.splitlines()
    assert for_scripts.startswith("8 ")
    assert for_scripts.endswith(f" {tmp_path}/large")
    assert said.startswith("512 ranks on 64 nodes can share the data: ")
    assert said.endswith(f" streams, 8 images per domain, rank and step; run folder {tmp_path}/large")


def recipes() -> list[list[float]]:
    """The rows of the table in docs/performance.md: ranks, nodes, batch, shards, streams, two learning rates."""
    text = (REPO / "docs" / "performance.md").read_text()
    table = text.partition("<!-- ranks -->")[2].partition("<!-- end of ranks -->")[0]
    return [
        [float(cell) for cell in row.strip("| ").split("|")]
        for row in table.split("\n")
        if row[:3].strip("| ").isdigit()
    ]


@pytest.mark.parametrize("row", recipes(), ids=lambda row: f"{row[0]:g}")
def test_the_recipes_for_8_to_512_ranks_can_share_their_data(job, tmp_path, row):
    ranks, nodes, batch, shards, streams, root, linear = row
    config = REPO / "configs" / "kdef.yaml"
    url = manifest_alone(tmp_path / "shards", int(shards))
    words = [f"data.shards={url}", f"data.global_batch_size={batch:g}", f"optimizer.lr={root}", f"output={tmp_path}"]
    code, output, errors = job("train", "--check", "--config", config, "--nodes", int(nodes), "--ranks", 8, *words)
    assert code == 0, errors
    assert int(output.splitlines()[-1].split()[0]) * nodes == ranks
    made = load_config(config, words)
    assert chosen(made) == streams
    base = load_config(config)
    times = batch / base.data.global_batch_size
    assert root == pytest.approx(base.optimizer.lr * times**0.5, rel=0.03)
    assert linear == pytest.approx(base.optimizer.lr * times, rel=0.03)


def test_the_table_of_recipes_has_all_sizes():
    assert [row[0] for row in recipes()] == [8, 16, 32, 64, 128, 256, 512]


def test_too_many_ranks_are_refused_with_what_would_allow_them(tmp_path, small, job):
    url = manifest_alone(tmp_path / "shards", 48)
    manifest = load_manifest(url)
    words = (f"data.shards={url}", f"output={tmp_path}", "name=new")
    code, _, errors = job("train", "--check", "--config", REPO / "configs" / "kdef.yaml", "--ranks", 64, *words)
    assert code == 2
    assert "data.global_batch_size=32 and 48 training shards of source allow 32 streams" in errors

    def refusal(ranks: int, batch: int) -> str:
        with pytest.raises(JobError) as error:
            check_data(small(data={"shards": url, "streams": None, "global_batch_size": batch}), manifest, ranks)
        return str(error.value)

    check_data(small(data={"shards": url, "streams": None, "global_batch_size": 64}), manifest, 32)
    assert "48 training shards of source allow 32 streams" in refusal(64, 64)
    assert "write the shards again with --shards 64 or more, or start a divisor of 32 ranks" in refusal(64, 64)
    assert "set data.global_batch_size to a multiple of 24, or" in refusal(24, 64)
    assert "set data.streams=32, if this run is new" in refusal(32, 96)  # of 48, which 32 ranks cannot share


@pytest.mark.slow
def test_a_run_keeps_the_number_that_it_began_with(small):
    """8 shards and a batch of 16 allow 8; a run that began with another number keeps that."""
    config = small(data={"streams": None}, train={"steps": 2, "eval_every": 2})
    assert chosen(config) == 8
    began = config.with_streams(4)
    assert train(began) == 0
    assert chosen(config) == 4
    longer = small(data={"streams": None}, train={"steps": 2, "eval_every": 2, "log_every": 2})
    assert train(longer) == 0
    assert is_finished(longer)
    assert load_config(config.run_folder / "config.yaml").data.streams == 4
    meta = json.loads((config.run_folder / "checkpoints/latest/meta.json").read_text())
    assert meta["config"]["data"]["streams"] == 4
    assert [row["trainer/step"] for row in rows(config)][-1] == 2
    with pytest.raises(JobError, match=r"data\.streams 4 -> 8"):
        train(config.with_streams(8))


def test_a_number_that_was_derived_is_not_blamed_on_the_user(tmp_path, small):
    manifest = load_manifest(manifest_alone(tmp_path / "shards", 48))
    config = small(data={"shards": f"{tmp_path}/shards", "streams": None, "global_batch_size": 64})
    settled = with_streams(config, manifest, ranks=64)
    with pytest.raises(JobError, match=r"48 training shards of source allow 32 streams"):
        check_settled(config, settled, manifest, 64)
    check_settled(config, settled, manifest, 32)


def test_a_folder_that_was_begun_with_other_streams_is_named(job, small, tmp_path, monkeypatch):
    """The user has set neither data.streams nor a name: the folder of an earlier run has both."""
    began = SimpleNamespace(meta={"config": {"data": {"streams": 64}}})
    monkeypatch.setattr(streams, "find_checkpoint", lambda folder: began)
    url = manifest_alone(tmp_path / "shards", 64)
    words = (f"data.shards={url}", f"output={tmp_path}")
    check = ("train", "--check", "--config", REPO / "configs" / "faces.yaml", *words)
    begun = f"error: the run folder {tmp_path}/faces was begun with 64 streams, and "
    code, _, errors = job(*check, "--ranks", 8, "data.global_batch_size=16")
    assert code == 2
    assert errors.startswith(f"{begun}data.global_batch_size=16 cannot be shared equally among so many: choose another")
    assert "data.streams" not in errors
    check += ("data.global_batch_size=128",)
    errors = job(*check, "--ranks", 24)[2]
    assert errors.startswith(f"{begun}24 ranks cannot share so many equally: choose another `name` for a new run, or ")
    assert "start one of 1, 2, 4, 8, 16, 32, 64 ranks" in errors
    fewer = manifest_alone(tmp_path / "fewer", 32)
    errors = job(*check, f"data.shards={fewer}")[2]
    assert errors.startswith(f"{begun}source has 32 training shards for so many: choose another `name`")
    code, output, errors = job(*check, "--ranks", 32)
    assert code == 0, errors
    assert output.startswith("32 ranks on 1 node can share the data: 64 streams, 4 images per domain, rank and step; ")
