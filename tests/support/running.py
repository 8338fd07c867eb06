"""Ways to run the job on a small configuration, and to look at what it did."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from job.evaluation.label_shift import estimate
from job.monitor.recorder import Recorder
from job.train import train
from tests.support.preloaded import HOLD_AFTER, Processes, free_port

REPO = Path(__file__).parents[2]
SMALL = {
    "seed": 5,
    "data": {"global_batch_size": 16, "streams": 4, "augment": {"rotate": 0, "shift": 0, "scale": [1, 1]}},
    "model": {"backbone": "compact", "batch_norm": "none", "domain_hidden": [16]},
    "optimizer": {"lr": 0.005},
    "train": {"steps": 24, "log_every": 1, "eval_every": 8, "checkpoint_every": 5},
    "evaluation": {"batch_size": 32, "probe_samples": 40, "figures": False},
    "wandb": {"mode": "disabled"},
}


def merge(base: dict, changes: dict) -> dict:
    merged = dict(base)
    for key, value in changes.items():
        merged[key] = merge(merged.get(key, {}), value) if isinstance(value, dict) else value
    return merged


needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))), reason="torch.compile needs a C++ compiler"
)

# Bit-identical weights take equally many threads: sums are split among them. Here, and in the processes tests start.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

# The intervals of the class shares take two thirds of a short run's time: tests/evaluation/test_label_shift.py has all.
estimate._RESAMPLES = (4, 4)


def weights(config, which: str = "latest") -> dict[str, torch.Tensor]:
    return load_file(config.run_folder / "checkpoints" / which / "model.safetensors")


def assert_same_weights(one: dict, other: dict, tolerance: float = 0.0) -> None:
    assert one.keys() == other.keys()
    for name in one:
        if tolerance:
            torch.testing.assert_close(one[name], other[name], rtol=0, atol=tolerance, msg=name)
        else:
            assert torch.equal(one[name], other[name]), name


def assert_stopped_and_resumed_equals(stopped, whole) -> None:
    """Train `whole` in one piece and `stopped` in two; their weights must be equal."""
    assert train(whole) == 0
    stopped.run_folder.mkdir(parents=True)
    (stopped.run_folder / "stop").touch()
    assert train(stopped) == 75
    assert train(stopped) == 0
    assert_same_weights(weights(stopped), weights(whole))


def assert_killed_and_resumed_equals(killed, whole, tmp_path, step: int) -> None:
    """Train `killed`, with SIGKILL after a step, in two processes and `whole` here; their weights must be equal."""
    kill_at(killed, tmp_path, step)
    finish(start(killed, tmp_path))
    assert train(whole) == 0
    assert_same_weights(weights(killed), weights(whole))


def rows(config) -> list[dict]:
    return [json.loads(line) for line in (config.run_folder / "metrics.jsonl").read_text().splitlines()]


def start(config, tmp_path, ranks: int = 1, hold_after: int | None = None) -> Processes:
    """The job in processes of its own, with the environment that a launcher gives to ranks.

    It waits to be killed once it has logged the step `hold_after`.
    """
    path = tmp_path / f"{config.name}.yaml"
    path.write_text(config.to_yaml())
    shared = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "JOB_EXPECTED_RANKS": str(ranks)}
    if hold_after is not None:
        shared[HOLD_AFTER] = str(hold_after)
    environments = [shared]
    if ranks > 1:
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        shared |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
        environments = [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]
    return Processes({"argv": ["job", "train", "--config", str(path)]}, environments)


def finish(process: Processes) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def stop_at_step(monkeypatch, step: int) -> None:
    """Ask this process to stop when it has logged a step."""
    log = Recorder.log

    def log_and_ask(self, number, metrics):
        log(self, number, metrics)
        if number == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Recorder, "log", log_and_ask)


def kill_at(config, tmp_path, step: int, ranks: int = 1, when: Callable[[], bool] = lambda: True) -> None:
    """Start the job; SIGKILL all ranks as soon as it has logged `step` and `when` says so, and soon after that step."""
    process = start(config, tmp_path, ranks, hold_after=step + 3)
    path = config.run_folder / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not (path.exists() and f'"trainer/step": {step},' in path.read_text() and when()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the run has not come to the step"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
