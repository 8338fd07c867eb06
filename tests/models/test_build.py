import re

import pytest
import torch
import torchvision
from torch import nn

from job.config.load import build_config
from job.config.schema import Optimizer
from job.methods.build import build_method
from job.models.weights import load_state
from job.system.errors import JobError
from job.training.optimizer import build_optimizer, set_learning_rate


def build(size=48, classes=7, seed=0, **settings):
    return build_method(build_config({"seed": seed, "model": settings}, "test"), size, classes)


@pytest.mark.parametrize(
    ("backbone", "size"),
    [
        ("mnist", 28),
        ("svhn", 32),
        ("compact", 48),
        ("compact", 96),
        ("resnet18", 64),
        ("convnext_tiny", 64),
        ("mobilenet_v3_small", 64),
        ("vit_b_16", 64),
        ("densenet121", 64),
        ("efficientnet_b0", 64),
    ],
)
def test_every_backbone_returns_features_and_both_logits(backbone, size):
    model = build(size, backbone=backbone, bottleneck=16).eval()
    output = model.predict(torch.randn(2, 3, size, size))
    assert output.features.shape == (2, 16)
    assert output.class_logits.shape == (2, 7)
    assert output.domain_logits.shape == (2,)


def test_the_paper_s_mnist_network_layer_by_layer():
    model = build(28, 10, backbone="mnist", batch_norm="none")
    sizes = [tuple(layer.weight.shape) for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    heads = [(100, 768), (100, 100), (10, 100), (100, 768), (1, 100)]
    assert sizes == [(32, 3, 5, 5), (48, 32, 5, 5), *heads]


def test_the_paper_s_svhn_network_layer_by_layer():
    model = build(32, 10, backbone="svhn", batch_norm="none")
    sizes = [tuple(layer.weight.shape) for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    heads = [(3072, 8192), (2048, 3072), (10, 2048), (1024, 8192), (1024, 1024), (1, 1024)]
    assert sizes == [(64, 3, 5, 5), (64, 64, 5, 5), (128, 64, 5, 5), *heads]


def test_the_same_seed_gives_the_same_weights():
    one, same, other = (build(seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_local_weights_are_loaded_and_learn_slower(tmp_path, ending):
    torch.manual_seed(9)
    state = torchvision.models.resnet18(num_classes=5).state_dict()  # a head of another size is ignored
    path = tmp_path / f"weights.{ending}"
    if ending == "pth":
        torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, path)
    else:
        from safetensors.torch import save_file

        save_file(state, path)
    model = build(64, backbone="resnet18", weights=str(path), bottleneck=8)
    torch.testing.assert_close(model.network.feature_extractor[0].conv1.weight, state["conv1.weight"], rtol=0, atol=0)
    optimizer = build_optimizer(model, Optimizer(lr=0.1, pretrained_lr_factor=0.1, weight_decay=0.01))
    set_learning_rate(optimizer, 0.5)
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(model.network.feature_extractor[0].conv1.weight)] == pytest.approx((0.005, 0.01))
    assert rates[id(model.network.feature_extractor[0].bn1.weight)] == pytest.approx((0.005, 0.0))
    assert rates[id(model.network.label_predictor[0].weight)] == pytest.approx((0.05, 0.01))
    assert len(rates) == len(list(model.parameters()))


@pytest.mark.slow
def test_weights_of_a_vision_transformer_fit_another_image_size(tmp_path):
    path = tmp_path / "vit.pth"
    torch.save(torchvision.models.vit_b_16().state_dict(), path)
    output = build(64, backbone="vit_b_16", weights=str(path)).eval().predict(torch.randn(1, 3, 64, 64))
    assert output.features.shape == (1, 768)


def test_frozen_batch_norm_keeps_its_statistics_and_mixed_does_not():
    for choice, moves in (("frozen", False), ("mixed", True)):
        model = build(backbone="compact", batch_norm=choice).train()
        before = {name: value.clone() for name, value in model.named_buffers() if "running" in name}
        model.predict(torch.randn(4, 3, 48, 48) * 3 + 1)
        changed = [not torch.equal(value, before[name]) for name, value in model.named_buffers() if name in before]
        assert before
        assert all(changed) if moves else not any(changed)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"backbone": "resnet19"}, "unknown model.backbone resnet19: did you mean resnet1"),
        ({"backbone": "resnet18", "weights": "/nowhere/w.pth"}, "no file at model.weights=/nowhere/w.pth"),
        ({"backbone": "resnet18", "weights": "IMAGENET21K"}, "torchvision has only IMAGENET1K_V1"),
        ({"backbone": "vit_b_32"}, "patches of 32 px, and 48 px is not a multiple of that"),
        ({"backbone": "resnet18", "batch_norm": "none"}, "has BatchNorm built in"),
        ({"backbone": "squeezenet1_0"}, "does not end in a linear layer"),
    ],
)
def test_a_mistake_is_reported_in_one_line(settings, says):
    with pytest.raises(JobError) as error:
        build(**settings)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    with pytest.raises(JobError, match="does not fit"):
        build(backbone="resnet50", weights=str(path))
    path.write_text("not weights")
    with pytest.raises(JobError, match="cannot read"):
        build(backbone="resnet18", weights=str(path))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnasnet0_5", "densenet121"])
def test_weights_from_a_file_equal_the_saved_ones(tmp_path, name):
    """mnasnet requires the version of its layers, which files lack; published densenets have another dot in names."""
    from safetensors.torch import load_file, save_file

    state = torchvision.models.get_model(name).state_dict()
    published = {re.sub(r"(denselayer\d+\.[a-z]+)([12])\.", r"\1.\2.", key): value for key, value in state.items()}
    save_file(published, tmp_path / "w.safetensors")
    one = build(64, backbone=name, weights=str(tmp_path / "w.safetensors"))
    key = next(iter(state))
    torch.testing.assert_close(one.network.feature_extractor[0].state_dict()[key], state[key], rtol=0, atol=0)
    save_file(one.state_dict(), tmp_path / "checkpoint.safetensors")
    other = build(64, backbone=name, seed=1)
    load_state(other, load_file(tmp_path / "checkpoint.safetensors"))
    assert all(torch.equal(value, one.state_dict()[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize("name", ["alexnet", "inception_v3"])
def test_a_size_that_a_network_cannot_take_is_reported_before_training(name):
    with pytest.raises(JobError, match=rf"backbone {name} cannot take images of 48 px"):
        build(48, backbone=name)
