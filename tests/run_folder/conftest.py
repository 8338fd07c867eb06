"""A run without a network: it opens its folder, logs and saves as the training loop does, in a fraction of a second."""

import pytest
import torch
from accelerate import Accelerator

from job.run_folder.restore import restore
from job.run_folder.run_folder import RunFolder
from job.shards.manifest import load_manifest


@pytest.fixture
def pretend(small, faces):
    """`pretend(config, stop_after=None, error=None)`: run it to its end, or stop or fail after a step.

    A checkpoint every second step.
    """
    manifest = load_manifest(faces)

    def run(config, stop_after: int | None = None, error: Exception | None = None) -> None:
        accelerator = Accelerator(cpu=True)
        restore(config, manifest, accelerator)
        with RunFolder(config, manifest, accelerator) as folder:
            value = folder.resumed.weights()["w"] if folder.resumed else torch.zeros(1000)
            for step in range(folder.start_step + 1, (stop_after or config.train.steps) + 1):
                value = value * 0.5 + step
                metrics = {"train/class_loss": 1 / step}
                score = float(step % 3) if step % 2 == 0 else None
                if step % 2 == 0 or folder.improves(score):
                    trainer = {"optimizer": {"step": step}, "scaler": {}}
                    folder.save(step, metrics, score, {"w": value}, trainer, wandb_id="x", skipped=0)
                folder.metrics.write({"trainer/step": step, **metrics})
            if error is not None:
                raise error
            folder.end(75 if stop_after else 0)

    return run


@pytest.fixture
def config(small):
    """Six steps, all checkpoints kept."""
    return small(name="pretend", train={"steps": 6, "keep_last": 3})
