"""Backbones of timm and of face recognition: their weights load under the names that are published, or are refused."""

import re
from functools import cache

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from job.config.load import build_config
from job.config.normalisation import HALF, IMAGENET, normalisation_of
from job.methods.build import build_method
from job.models import iresnet
from job.system.errors import JobError

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def build(size=48, classes=7, **model):
    return build_method(build_config({"model": model}, "test"), size, classes)


def backbone_of(method):
    return method.network.feature_extractor[0]


@cache
def published_iresnet(blocks=(2, 2, 2, 2), cells=7) -> dict[str, torch.Tensor]:
    """Weights under the names, and in the shapes, of InsightFace's arcface_torch for 112 px."""
    torch.manual_seed(1)
    state = {"conv1.weight": torch.randn(64, 3, 3, 3), "prelu.weight": torch.rand(64)}

    def add_norm(name, width):
        state.update({f"{name}.{key}": torch.rand(width) for key in NORM[:-1]})
        state[f"{name}.num_batches_tracked"] = torch.tensor(3)

    add_norm("bn1", 64)
    inputs = 64
    for stage, (outputs, count) in enumerate(zip((64, 128, 256, 512), blocks), 1):
        for number in range(count):
            block = f"layer{stage}.{number}"
            for name, width in (("bn1", inputs), ("bn2", outputs), ("bn3", outputs)):
                add_norm(f"{block}.{name}", width)
            state[f"{block}.conv1.weight"] = torch.randn(outputs, inputs, 3, 3) / 50
            state[f"{block}.prelu.weight"] = torch.rand(outputs)
            state[f"{block}.conv2.weight"] = torch.randn(outputs, outputs, 3, 3) / 50
            if number == 0:
                state[f"{block}.downsample.0.weight"] = torch.randn(outputs, inputs, 1, 1) / 20
                add_norm(f"{block}.downsample.1", outputs)
            inputs = outputs
    add_norm("bn2", 512)
    state |= {"fc.weight": torch.randn(512, 512 * cells**2) / 100, "fc.bias": torch.rand(512)}
    add_norm("features", 512)
    return state


def test_iresnets_have_the_published_names_and_sizes():
    with torch.device("meta"):
        own = iresnet.IResNet(iresnet.BLOCKS["iresnet18"], 112).state_dict()
    assert {name: value.shape for name, value in own.items()} == {
        name: value.shape for name, value in published_iresnet().items()
    }
    with torch.device("meta"):
        count = sum(p.numel() for p in iresnet.IResNet(iresnet.BLOCKS["iresnet50"], 112).parameters())
    assert round(count / 1e6, 2) == 43.59


def of_torchvision():
    state = torchvision.models.resnet18(num_classes=5).state_dict()
    return {"model": {f"_orig_mod.module.{key}": value for key, value in state.items()}}, state


def of_timm(name):
    """As timm saves them, head included, for the size that its configuration names."""
    state = timm.create_model(name, num_classes=11).state_dict()
    return {"epoch": 3, "state_dict_ema": state, "state_dict": {key: value * 0 for key, value in state.items()}}, state


def of_convnext_authors():
    """The names of facebookresearch/ConvNeXt, which timm converts."""
    state = timm.create_model("test_convnext", num_classes=11).state_dict()
    renamed = {}
    for key, value in state.items():
        key = re.sub(r"^stem\.", "downsample_layers.0.", key)
        key = re.sub(r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1.", key).replace(".blocks.", ".")
        key = key.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv").replace("head.norm", "norm")
        renamed[key.replace("head.fc", "head")] = value
    return {"model": renamed}, state


def of_insightface():
    state = published_iresnet()
    return {"global_step": 7, "state_dict_backbone": {f"module.{key}": value for key, value in state.items()}}, state


@pytest.mark.parametrize(
    ("backbone", "size", "make", "sample"),
    [
        ("resnet18", 64, of_torchvision, "layer4.1.conv2.weight"),
        ("timm/test_resnet", 48, lambda: of_timm("test_resnet"), "conv1.3.weight"),
        ("timm/test_vit.r160_in1k", 48, lambda: of_timm("test_vit"), "blocks.5.mlp.fc2.weight"),
        ("timm/test_convnext", 64, lambda: of_timm("test_convnext"), "head.norm.weight"),
        ("timm/test_convnext", 64, of_convnext_authors, "stages.1.downsample.1.weight"),
        ("iresnet18", 112, of_insightface, "fc.weight"),
    ],
    ids=["torchvision", "timm-resnet", "timm-vit", "timm-convnext", "convnext-authors", "iresnet"],
)
def test_a_file_of_every_family_is_loaded_without_its_head(tmp_path, backbone, size, make, sample):
    content, state = make()
    torch.save(content, tmp_path / "weights.pth")
    method = build(size, backbone=backbone, weights=str(tmp_path / "weights.pth"), bottleneck=8).eval()
    own = backbone_of(method).state_dict()
    assert torch.equal(own[sample], state[sample])
    same = [key for key in own if own[key].shape == state[key].shape]
    assert len(same) >= len(own) - 1, "only a positional embedding is resampled"
    assert all(torch.equal(own[key], state[key]) for key in same)
    assert method.predict(torch.rand(2, 3, size, size)).class_logits.shape == (2, 7)


def test_half_precision_and_safetensors_are_read(tmp_path):
    state = published_iresnet(cells=3)
    state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    save_file(state, tmp_path / "glint.safetensors")
    own = backbone_of(build(48, backbone="iresnet18", weights=str(tmp_path / "glint.safetensors"))).state_dict()
    torch.testing.assert_close(own["layer1.0.conv1.weight"], state["layer1.0.conv1.weight"].float(), rtol=0, atol=0)


def test_at_another_size_an_even_map_gives_the_features_that_it_gave(tmp_path):
    state = published_iresnet()
    even = state["fc.weight"].view(512, 512, 49)[:, :, :1].expand(-1, -1, 49)
    state = state | {"fc.weight": even.flatten(1).contiguous()}
    torch.save(state, tmp_path / "w.pth")
    network = backbone_of(build(48, backbone="iresnet18", weights=str(tmp_path / "w.pth")))
    even = torch.rand(2, 512, 1)
    published = even.expand(-1, -1, 49).flatten(1) @ state["fc.weight"].T + state["fc.bias"]
    torch.testing.assert_close(network.fc(even.expand(-1, -1, 9).flatten(1)), published, rtol=1e-4, atol=1e-4)


def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path):
    path = tmp_path / "w.pth"

    def refused(content, backbone, *says):
        torch.save(content, path)
        with pytest.raises(JobError) as error:
            build(48, backbone=backbone, weights=str(path))
        assert all(text in str(error.value) for text in says), error.value
        assert "\n" not in str(error.value)

    iresnet18, resnet18 = published_iresnet(cells=3), torchvision.models.resnet18().state_dict()
    other = {f"encoder.{key}": value for key, value in resnet18.items()}
    refused(other, "resnet18", "has no weights of resnet18", "encoder.conv1.weight", "conv1.weight and")
    refused(other, "timm/test_vit", "has no weights of timm/test_vit", "encoder.conv1.weight", "cls_token")
    refused(resnet18, "iresnet18", "does not fit iresnet18", "missing")
    deeper = iresnet18 | {"layer3.2.bn1.weight": torch.rand(256)}
    refused(deeper, "iresnet18", "has no layer3.2.bn1.weight", "choose the backbone of the file")
    refused(iresnet18 | {"conv1.weight": torch.full((64, 3, 3, 3), torch.nan)}, "iresnet18", "conv1.weight holds NaN")
    refused({"epoch": 3, "state_dict": {}}, "iresnet18", "holds no weights")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"backbone": "timm/resnet5"}, "unknown model.backbone timm/resnet5: did you mean timm/resnet"),
        ({"backbone": "timm/resnet18.a9_in1k"}, "timm has no weights a9_in1k of resnet18, only"),
        ({"backbone": "timm/resnet18", "weights": "a9_in1k"}, "timm has no weights a9_in1k of resnet18, only"),
        ({"backbone": "timm/test_vit"}, "patches of 16 px, and 40 px is not a multiple of that"),
        ({"backbone": "iresnet18", "weights": "ms1mv3"}, "model.weights=ms1mv3 is not a file"),
        ({"backbone": "iresnet50x"}, "unknown model.backbone iresnet50x: did you mean iresnet50?"),
    ],
)
def test_a_mistake_is_reported_in_one_line(settings, says):
    with pytest.raises(JobError) as error:
        build(40, **settings)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_of_the_hub_without_a_network_name_where_they_are(monkeypatch):
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: 1 / 0)
    for weights in ("DEFAULT", "a1_in1k"):
        with pytest.raises(JobError, match=r"from https://huggingface.co/timm/resnet18\.a1_in1k .*give its path"):
            build(backbone="timm/resnet18", weights=weights)
    with pytest.raises(JobError, match=r"from https://huggingface.co/me/mine"):
        build(backbone="timm/resnet18", weights="hf-hub:me/mine")


@pytest.mark.parametrize("backbone", ["iresnet18", "timm/test_vit", "timm/test_convnext", "timm/pvt_v2_b0"])
def test_every_trained_parameter_gets_a_gradient(backbone):
    """DDP waits for all of them."""
    method = build(32, backbone=backbone).train()
    features = method.network(torch.rand(4, 3, 32, 32)).features
    features.square().sum().backward()
    trained = [(name, p) for name, p in backbone_of(method).named_parameters() if p.requires_grad]
    assert trained
    assert [name for name, p in trained if p.grad is None] == []


@pytest.mark.parametrize(
    ("backbone", "mean"),
    [
        ("resnet50", IMAGENET["mean"]),
        ("iresnet50", HALF["mean"]),
        ("compact", HALF["mean"]),
        ("timm/resnet50", IMAGENET["mean"]),
        ("timm/vit_tiny_patch16_224", HALF["mean"]),
        ("timm/vit_base_patch16_clip_224.openai", (0.48145466, 0.4578275, 0.40821073)),
    ],
)
def test_the_normalisation_is_that_of_the_published_weights(backbone, mean):
    assert normalisation_of(backbone)["mean"] == mean
    asked = build_config({"model": {"backbone": backbone}, "data": {"mean": "backbone"}}, "test").data
    assert asked.mean == mean
    unset = build_config({"model": {"backbone": backbone}}, "test").data
    assert unset.mean == (mean if backbone.startswith("timm/") else (0.5, 0.5, 0.5))
    given = build_config({"model": {"backbone": backbone}, "data": {"mean": [0.1, 0.2, 0.3]}}, "test").data
    assert given.mean == (0.1, 0.2, 0.3)
