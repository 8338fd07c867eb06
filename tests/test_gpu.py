"""Behaviour on a GPU. Skipped, with a message, without a GPU."""

import pytest
import torch

from job.shards.manifest import load_manifest
from job.shards.reading.batch_loader import BatchLoader
from job.shards.reading.domain_stream import DomainStream
from job.shards.reading.shard_cache import ShardStore
from job.system.errors import EXIT_STOPPED
from job.train import train
from job.vocabulary import DOMAINS, SOURCE
from tests.support.running import assert_same_weights, weights

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
