"""Stages of a backbone: which are frozen, and how fast the others learn."""

from itertools import chain

import pytest
import torch
import torchvision
from torch import nn

from job.config.load import build_config
from job.config.schema import Optimizer
from job.methods.build import build_method
from job.models import iresnet
from job.models.compact import CompactCNN
from job.models.stages import freeze, layers_of
from job.system.errors import JobError
from job.training.optimizer import build_optimizer


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    return str(path)


def build(**model):
    return build_method(build_config({"model": {"backbone": "resnet18", "bottleneck": 8, **model}}, "test"), 64, 7)


def without_head(network):
    network.fc = nn.Identity()
    return network


def timm_model(name):
    import timm

    return timm.create_model(name, num_classes=0)


@pytest.mark.parametrize(
    ("make", "stages", "layers", "first", "last"),
    [
        (lambda: without_head(torchvision.models.resnet18()), 5, 9, "bn1.weight", "layer4.1.bn2.bias"),
        (lambda: iresnet.IResNet((2, 2, 2, 2), 32), 6, 10, "prelu.weight", "features.bias"),
        (lambda: torchvision.models.vit_b_32(image_size=32), 13, 13, "class_token", "encoder.ln.bias"),
        (torchvision.models.inception_v3, None, None, "Conv2d_1a_3x3.bn.weight", None),
        (CompactCNN, 4, 4, "stages.0.1.weight", "stages.4.1.bias"),
        (lambda: timm_model("test_resnet"), 5, None, "bn1.weight", None),
        (lambda: timm_model("test_vit"), 7, 7, "pos_embed", "norm.weight"),
    ],
    ids=["resnet", "iresnet", "vit", "inception", "compact", "timm-resnet", "timm-vit"],
)
def test_stages_and_layers_hold_every_parameter_once_in_order(make, stages, layers, first, last):
    with torch.device("meta"):
        network = make()
    names = [name for name, _ in network.named_parameters()]
    for groups, count in ((layers_of(network, stages=True), stages), (layers_of(network), layers)):
        assert len(groups) == (count or len(groups)) > 3
        flat = list(chain.from_iterable(groups))
        assert sorted(flat) == sorted(names)
        assert first in groups[0]
        assert last is None or last in groups[-1]


@pytest.mark.parametrize("frozen", [3, ["conv1", "bn1", "layer1", "layer2"]])
def test_frozen_stages_keep_their_weights_and_statistics(weights, frozen):
    method = build(weights=weights, freeze=frozen, dropout=0.1)
    optimizer = build_optimizer(method, Optimizer(lr=0.1, weight_decay=0.1))
    backbone = method.network.feature_extractor[0]
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    method.eval().train()
    method.network(torch.rand(4, 3, 64, 64)).features.square().sum().backward()
    optimizer.step()
    changed = {name.partition(".")[0] for name, value in backbone.state_dict().items() if not value.equal(before[name])}
    assert changed == {"layer3", "layer4"}
    assert not backbone.layer2[0].bn1.training
    assert backbone.layer3[0].bn1.training


def test_what_cannot_be_frozen_is_refused(weights):
    with pytest.raises(JobError, match=r"model.freeze=6: the backbone has 5 stages"):
        build(weights=weights, freeze=6)
    with pytest.raises(JobError, match=r"has no layer; its parts are conv1, bn1, layer1"):
        build(weights=weights, freeze=["layer"])
    with pytest.raises(JobError, match=r"model.freeze needs model.weights"):
        build(freeze=2)


def test_layers_learn_slower_the_nearer_they_are_to_the_input(weights):
    method = build(weights=weights)
    optimizer = build_optimizer(method, Optimizer(lr=0.1, layer_decay=0.5, domain_lr_factor=3))
    rates = {id(p): group["base_lr"] for group in optimizer.param_groups for p in group["params"]}
    backbone, network = method.network.feature_extractor[0], method.network
    assert len(rates) == len(list(method.parameters()))
    assert rates[id(network.label_predictor[0].weight)] == 0.1
    assert rates[id(network.feature_extractor[1].weight)] == 0.1
    assert rates[id(next(method.adversary.parameters()))] == pytest.approx(0.3)
    for layer, above in ((backbone.layer4[1], 1), (backbone.layer4[0], 2), (backbone.layer1[0], 8), (backbone.bn1, 9)):
        assert [rates[id(p)] / 0.5**above for p in layer.parameters()] == pytest.approx(
            [0.1] * len([*layer.parameters()])
        )


def test_freezing_by_name_takes_a_parameter_too():
    network = timm_model("test_vit")
    freeze(network, ("pos_embed", "blocks.0"))
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert "pos_embed" in frozen
    assert {name.rpartition(".")[0] for name in frozen} >= {"blocks.0.attn.qkv"}
    assert not any(name.startswith("blocks.1.") for name in frozen)


def test_runs_from_before_keep_their_fingerprint():
    plain = build_config({}, "t")
    unset = build_config({"model": {"freeze": 0}, "optimizer": {"layer_decay": None}}, "t")
    assert plain.fingerprint() == unset.fingerprint()
    assert plain.fingerprint() != build_config({"optimizer": {"layer_decay": 0.9}}, "t").fingerprint()
