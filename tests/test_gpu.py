"""Behaviour on a GPU. Skipped, with a message, without a GPU."""

import pytest
import torch

from job.shards.manifest import load_manifest
from job.shards.reading.batch_loader import BatchLoader
from job.shards.reading.domain_stream import DomainStream
from job.shards.reading.shard_cache import ShardStore
from job.system.errors import EXIT_STOPPED
from job.train import train
from job.training.cpu_binding import SYSFS, pci_address
from job.vocabulary import DOMAINS, SOURCE
from tests.support.running import assert_same_weights, rows, weights

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device in this machine")


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
@pytest.mark.parametrize("backbone", ["compact", "resnet18"])
def test_a_stopped_run_ends_with_the_same_weights_on_a_gpu(small, precision, backbone):
    settings = {
        "model": {"backbone": backbone, "batch_norm": "mixed"},
        "train": {"precision": precision, "deterministic": True, "steps": 8},
    }
    whole, parts = small(name="whole", **settings), small(name="parts", **settings)
    assert train(whole) == 0
    parts.run_folder.mkdir(parents=True)
    (parts.run_folder / "stop").touch()
    assert train(parts) == EXIT_STOPPED
    assert train(parts) == 0
    assert_same_weights(weights(parts), weights(whole))


WHOLE = {"backbone": "resnet18", "batch_norm": "mixed", "compile": True, "compile_scope": "method"}


@pytest.mark.parametrize("model", [WHOLE, WHOLE | {"compile_mode": "reduce-overhead"}], ids=["default", "cuda graphs"])
def test_a_compiled_forward_pass_on_a_gpu_trains_like_the_eager_one(small, model):
    settings = {"train": {"steps": 6, "log_every": 2, "deterministic": True, "tf32": False}}
    eager = small(name="eager", model={"backbone": "resnet18", "batch_norm": "mixed"}, **settings)
    compiled = small(name="compiled", model=model, **settings)
    assert train(eager) == train(compiled) == 0
    torch.compiler.reset()
    assert_same_weights(weights(compiled), weights(eager), tolerance=1e-3)
    losses = [
        [row["train/class_loss"] for row in rows(config) if "train/class_loss" in row] for config in (eager, compiled)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2), "what the meter kept was not overwritten"


@pytest.mark.parametrize("fused", [None, False])
def test_updates_on_a_gpu_are_fused_unless_the_user_decides(small, fused):
    config = small(optimizer={"fused": fused}, train={"steps": 2, "precision": "fp16"})
    assert train(config) == 0
    state = torch.load(config.run_folder / "checkpoints" / "latest" / "trainer.pt", map_location="cpu")
    assert {bool(group["fused"]) for group in state["optimizer"]["param_groups"]} == {fused is None}


def test_a_gpu_has_an_address_of_which_the_system_knows_the_numa_node():
    address = pci_address(0)
    assert address is not None
    assert (SYSFS / "bus/pci/devices" / address / "numa_node").exists()


def test_batches_on_a_gpu_are_those_on_a_cpu(faces):
    manifest, store = load_manifest(faces), ShardStore(faces)
    settings = {"seed": 0, "streams": 4, "global_batch_size": 16}

    def loader(device):
        streams = [DomainStream(manifest, d, store, labelled=d == SOURCE, **settings) for d in DOMAINS]
        return BatchLoader(streams, seed=0, stop_step=40, device=device)

    with loader("cpu") as on_cpu, loader("cuda") as on_gpu:
        for one, other in zip(on_cpu, on_gpu, strict=True):
            torch.cuda._sleep(1_000_000)  # a slow consumer: a buffer reused too early would show
            for field in ("images", "labels", "draws"):
                assert torch.equal(getattr(one, field), getattr(other, field).cpu())
