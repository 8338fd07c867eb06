"""Fix the number of streams of a run: it decides the data order, so it is chosen once and kept."""

from typing import Any

from accelerate import Accelerator

from job.config.schema import Config
from job.run_folder.checkpoint import find_checkpoint
from job.shards.manifest import Manifest
from job.system.ranks import on_main
from job.training.inputs import stream_count


def with_streams(config: Config, manifest: Manifest) -> Config:
    """Return the configuration with a number of streams: its own, or that of the run's last checkpoint, or a new one.

    A new one is the largest that the batch and the shards allow. Version 0.1 had 16 by default; its
    checkpoints store that number like any other.
    """
    if config.data.streams is not None:
        return config
    last = find_checkpoint(config.run_folder / "checkpoints")
    before: Any = (last.meta.get("config", {}).get("data") or {}).get("streams") if last else None
    return config.with_streams(before if isinstance(before, int) else stream_count(config, manifest))


def share_streams(config: Config, manifest: Manifest, accelerator: Accelerator) -> Config:
    """Return `with_streams` of the main rank on all ranks: others may see an older state of the run folder."""
    return config.with_streams(on_main(accelerator, lambda: with_streams(config, manifest).data.streams))
