"""A shared model: complete for use, and nothing in it that names the machine or the data."""

import json

import numpy as np
import pytest
import yaml
from safetensors import safe_open

from job.config.load import build_config
from job.evaluation.load import load_model
from job.methods.build import build_method
from job.predict import predict_image
from job.run_folder.checkpoint import read_checkpoint
from job.sharing.folder import write_folder
from job.system.errors import JobError
from job.training.initial_weights import load_initial_weights
from tests.support import trees
from tests.support.checkpoints import NAMES, untrained


@pytest.fixture
def checkpoint(tmp_path):
    path = untrained(tmp_path / "runs" / "mine", output="/home/anna/runs", wandb={"entity": "annas-team"})
    evaluation = tmp_path / "runs" / "mine" / "evaluation"
    evaluation.mkdir()
    (evaluation / "model_card.md").write_text(
        f"# Model card: mine\n\n|  |  |\n|---|---|\n| checkpoint | `{path}`, step 7 |\n| network | mnist |\n"
    )
    (evaluation / "faces.png").write_bytes(b"a picture of the data set")
    return path


def test_three_files_that_predict_as_the_checkpoint_does(tmp_path, checkpoint):
    files = write_folder(checkpoint, tmp_path / "shared" / "mine")
    assert {name for name, _ in files} == {path.name for path in (tmp_path / "shared" / "mine").iterdir()}
    assert {name for name, _ in files} == {"README.md", "config.json", "model.safetensors"}
    photo = trees.put(tmp_path / "x.jpg", 5)
    wanted = predict_image(load_model(checkpoint), photo)
    assert predict_image(load_model(tmp_path / "shared" / "mine"), photo) == wanted
    assert max(wanted.probabilities.values()) > 0.2
    with safe_open(tmp_path / "shared" / "mine" / "model.safetensors", "pt") as file:
        assert not any("adversary" in name for name in file.keys()), "the domain classifier stays at home"  # noqa: SIM118


def test_nothing_names_the_machine_the_account_or_the_data(tmp_path, checkpoint):
    write_folder(checkpoint, tmp_path / "shared")
    text = "".join((tmp_path / "shared" / name).read_text() for name in ("README.md", "config.json"))
    for private in ("anna", str(tmp_path), "wandb", "abcdef12", "manifest", "shards/"):
        assert private not in text, private
    about = json.loads((tmp_path / "shared" / "config.json").read_text())
    assert about["id2label"]["1"] == "joy"
    assert set(about["config"]) == {"name", "model", "objective", "data"}


def test_the_card_has_a_head_for_the_hub_and_the_errors_of_the_run(tmp_path, checkpoint):
    write_folder(checkpoint, tmp_path / "shared", repo="anna/faces", licence="cc-by-nc-4.0")
    empty, head, body = (tmp_path / "shared" / "README.md").read_text().split("---\n", 2)
    assert not empty
    about = yaml.safe_load(head)
    assert (about["license"], about["pipeline_tag"]) == ("cc-by-nc-4.0", "image-classification")
    assert "| checkpoint | `mine/checkpoints/step_00000007`, step 7 |" in body
    assert "model.weights=hf://anna/faces" in body
    (checkpoint.parents[1] / "evaluation" / "model_card.md").unlink()
    write_folder(checkpoint, tmp_path / "shared")  # again: the folder is replaced
    assert "This model was not evaluated" in (tmp_path / "shared" / "README.md").read_text()


def test_it_gives_initial_weights(tmp_path, checkpoint):
    write_folder(checkpoint, tmp_path / "shared")
    model = {"backbone": "mnist", "weights": str(tmp_path / "shared")}
    config = build_config({"name": "next", "seed": 3, "model": model, "data": {"mean": "imagenet"}}, "test")
    method = build_method(config, 28, len(NAMES), load_weights=False)
    load_initial_weights(method, config, NAMES)
    wanted = load_model(checkpoint).model.network.state_dict()
    for name, value in method.network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), wanted[name].numpy(), err_msg=name)


def test_it_cannot_be_resumed_and_damage_is_found(tmp_path, checkpoint):
    write_folder(checkpoint, tmp_path / "shared")
    assert read_checkpoint(tmp_path / "shared").shared
    assert not read_checkpoint(checkpoint).shared
    weights = tmp_path / "shared" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(JobError, match="does not match its checksum"):
        load_model(tmp_path / "shared")
    (tmp_path / "shared" / "config.json").write_text('{"model_type": "resnet"}')
    with pytest.raises(JobError, match="is no model of this project"):
        load_model(tmp_path / "shared")


def test_other_files_are_never_deleted(tmp_path, checkpoint):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x.jpg").touch()
    with pytest.raises(JobError, match="contains other files"):
        write_folder(checkpoint, tmp_path / "photos")
    with pytest.raises(JobError, match="--license My License: expected an identifier"):
        write_folder(checkpoint, tmp_path / "new", licence="My License")
    assert (tmp_path / "photos" / "x.jpg").exists()
