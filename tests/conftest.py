"""Small shards of synthetic faces, and configurations that train on them."""

import os
from collections import Counter
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState, GradientState, PartialState

from job.config.load import build_config
from job.methods.build import build_method
from job.run_folder.checkpoint import save_checkpoint
from job.shards.writing.write_shards import write_shards
from job.vocabulary import EMOTIONS
from tests.support.running import SMALL, merge

pytest_plugins = [
    "tests.support.commands",
    "tests.support.folded",
    "tests.support.s3_server",
    "tests.support.toy_shards",
]


def pytest_collection_modifyitems(items):
    """Where workers share the tests, begin with the files of most slow tests: the quick ones then fill both."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def _fresh_accelerator():
    yield
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


@pytest.fixture(scope="session")
def faces(tmp_path_factory) -> Path:
    """96 + 33 + 35 faces per domain at 48 px in 8 training shards, target labels kept: not to be written to."""
    out = tmp_path_factory.mktemp("shards") / "faces"
    options = {"train": 96, "val": 33, "test": 35}
    write_shards(
        "faces", None, out, size=48, shards=8, workers=1, keep_target_labels=True, options=options, progress=False
    )
    return out


@pytest.fixture
def small(faces, tmp_path):
    """`small(train={"steps": 3}, ...)`: a configuration on the small faces, with its run folder under tmp_path."""

    def make(**changes):
        content = merge(SMALL, {"output": str(tmp_path / "runs"), "data": {"shards": str(faces)}})
        return build_config(merge(content, changes), "test")

    return make


@pytest.fixture
def checkpoint_of(small, tmp_path):
    """`checkpoint_of(seed=1, class_names=..., model={...})`: the path of a checkpoint of an untrained source_only."""

    def make(class_names=EMOTIONS, name="source", **changes) -> Path:
        config = small(name=name, objective={"name": "source_only"}, **changes)
        method = build_method(config, 48, len(class_names))
        folder = tmp_path / "runs" / name / "checkpoints"
        folder.mkdir(parents=True)
        meta = {"class_names": list(class_names), "size": 48, "quality": 95, "crop": "center", "step": 7}
        return save_checkpoint(folder, meta | {"config": config.stored()}, method.state_dict(), {}).path

    return make


@pytest.fixture
def plain_compiler(monkeypatch):
    """Make torch.compile call the C++ compiler in this process, not in others that import torch, and not optimise."""
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_DEBUG_COMPILE", "1")
    with config.patch(compile_threads=1):
        yield
