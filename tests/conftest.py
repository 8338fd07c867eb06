"""Small shards of synthetic faces, and ways to run the job on them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from safetensors.torch import load_file

from job.config_file import build_config
from job.data.shards import write_shards

REPO = Path(__file__).parents[1]
SMALL = {
    "seed": 5,
    "data": {"global_batch_size": 16, "streams": 4, "augment": {"rotate": 0, "shift": 0, "scale": [1, 1]}},
    "model": {"backbone": "compact", "batch_norm": "none", "domain_hidden": [16]},
    "optimizer": {"lr": 0.005},
    "train": {"steps": 24, "log_every": 1, "eval_every": 8, "checkpoint_every": 5},
    "evaluation": {"batch_size": 32, "probe_samples": 40},
    "wandb": {"mode": "disabled"},
}


def merge(base: dict, changes: dict) -> dict:
    merged = dict(base)
    for key, value in changes.items():
        merged[key] = merge(merged.get(key, {}), value) if isinstance(value, dict) else value
    return merged


# Bit-identical weights take equally many threads: sums are split among them. Here, and in the processes tests start.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


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


def weights(config, which: str = "latest") -> dict[str, torch.Tensor]:
    return load_file(config.run_folder / "checkpoints" / which / "model.safetensors")


def assert_same_weights(one: dict, other: dict, tolerance: float = 0.0) -> None:
    assert one.keys() == other.keys()
    for name in one:
        if tolerance:
            torch.testing.assert_close(one[name], other[name], rtol=0, atol=tolerance, msg=name)
        else:
            assert torch.equal(one[name], other[name]), name


def rows(config) -> list[dict]:
    return [json.loads(line) for line in (config.run_folder / "metrics.jsonl").read_text().splitlines()]


def start(config, tmp_path, ranks: int = 1) -> subprocess.Popen:
    """The job in processes of its own, as a user starts it."""
    path = tmp_path / f"{config.name}.yaml"
    path.write_text(config.to_yaml())
    launcher = [sys.executable]
    if ranks > 1:
        launcher += [
            "-m",
            "accelerate.commands.launch",
            "--multi_gpu",
            f"--num_processes={ranks}",
            "--main_process_port=0",
        ]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "JOB_EXPECTED_RANKS": str(ranks)}
    command = [*launcher, "-m", "job", "train", "--config", str(path)]
    return subprocess.Popen(
        command,
        cwd=REPO,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def kill_at(process: subprocess.Popen, config, step: int) -> None:
    """SIGKILL the launcher and all its workers as soon as the run has logged `step`."""
    path = config.run_folder / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not (path.exists() and f'"trainer/step": {step},' in path.read_text()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the run has not come to the step"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
