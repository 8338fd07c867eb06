"""`model.weights` from a checkpoint of this project: what is loaded, and one line for each mistake."""

import shutil

import pytest
import torch
import torchvision

from job.methods.build import build_method
from job.run_folder.checkpoint import read_checkpoint
from job.run_folder.pointers import BEST, point
from job.system.errors import JobError
from job.training.initial_weights import load_initial_weights
from job.vocabulary import EMOTIONS


def start_from(config, class_names=EMOTIONS):
    method = build_method(config, 48, len(class_names))
    load_initial_weights(method, config, class_names)
    return {name: value for name, value in method.state_dict().items() if name.startswith("network.")}


def equal(state, other, part):
    names = [name for name in other if name.startswith(f"network.{part}.")]
    assert names
    return all(torch.equal(state[name], other[name]) for name in names)


@pytest.mark.parametrize("form", ["folder", "run", "pointer", "file"])
def test_the_whole_network_is_loaded_from_each_form_of_path(small, checkpoint_of, form):
    path = checkpoint_of(seed=1)
    point(path.parent, BEST, path)
    given = {
        "folder": path,
        "run": path.parent.parent,
        "pointer": path.parent / BEST,
        "file": path / "model.safetensors",
    }[form]
    state, saved = start_from(small(model={"weights": str(given)})), read_checkpoint(path).weights()
    assert equal(state, saved, "feature_extractor")
    assert equal(state, saved, "label_predictor")
    assert not equal(start_from(small()), saved, "feature_extractor")


@pytest.mark.parametrize("backbone", ["iresnet18", "timm/test_vit"])
def test_checkpoints_of_other_families_are_loaded_and_can_be_frozen(small, checkpoint_of, backbone):
    model = {"backbone": backbone, "batch_norm": "mixed"}
    path = checkpoint_of(seed=1, model=model)
    state, saved = (
        start_from(small(model={**model, "weights": str(path), "freeze": 2})),
        read_checkpoint(path).weights(),
    )
    assert equal(state, saved, "feature_extractor")
    assert equal(state, saved, "label_predictor")


def test_weights_of_another_normalisation_are_warned_of(small, tmp_path, caplog):
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "w.pth")
    model = {"backbone": "resnet18", "batch_norm": "mixed", "weights": str(tmp_path / "w.pth")}
    start_from(small(model=model, data={"mean": "backbone"}))
    assert "was trained with data.std=[0.229, 0.224, 0.225]" in caplog.text
    assert "data.mean" not in caplog.text


def test_the_label_predictor_stays_new_when_the_classes_differ(small, checkpoint_of):
    path = checkpoint_of(seed=1)
    other = (*EMOTIONS[1:], EMOTIONS[0])
    state, saved = start_from(small(model={"weights": str(path)}), other), read_checkpoint(path).weights()
    assert equal(state, saved, "feature_extractor")
    assert not equal(state, saved, "label_predictor")


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"backbone": "svhn"}, r"was trained with model\.backbone=compact, and this configuration has svhn"),
        ({"bottleneck": 8}, r"was trained with model\.bottleneck=null, and this configuration has 8"),
    ],
)
def test_another_network_is_refused_by_the_setting_that_differs(small, checkpoint_of, model, says):
    with pytest.raises(JobError, match=says) as error:
        start_from(small(model={"weights": str(checkpoint_of()), **model}))
    assert "\n" not in str(error.value)


def test_a_path_without_a_checkpoint_and_a_damaged_checkpoint_are_refused(small, checkpoint_of, tmp_path):
    (tmp_path / "empty").mkdir()
    damaged = shutil.copytree(checkpoint_of(), tmp_path / "damaged")
    content = bytearray((damaged / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (damaged / "model.safetensors").write_bytes(content)
    for weights, says in (
        (tmp_path / "empty", "is not a complete checkpoint"),
        (tmp_path / "missing", "no checkpoint at"),
        ("DEFAULT", "no checkpoint at"),
        (damaged, "does not match its checksum"),
    ):
        with pytest.raises(JobError, match=says):
            start_from(small(model={"weights": str(weights)}))
