"""Fix the number of streams of a run: it decides the data order, so it is chosen once and kept."""

from typing import TYPE_CHECKING, Any

from job.config.schema import Config
from job.run_folder.checkpoint import find_checkpoint
from job.shards.manifest import Manifest
from job.system.errors import JobError
from job.training.inputs import check_data, fewest_shards, stream_count

if TYPE_CHECKING:  # `train --check` does not need it
    from accelerate import Accelerator


def with_streams(config: Config, manifest: Manifest, ranks: int = 1) -> Config:
    """Return the configuration with a number of streams: its own, or that of the run's last checkpoint, or a new one.

    A new one is the largest that the batch and the shards allow. Version 0.1 had 16 by default; its
    checkpoints store that number like any other. Raises JobError when the number of the checkpoint does not fit the
    batch, the shards or the number of ranks: the run folder may be that of an earlier run of the same name.
    """
    if config.data.streams is not None:
        return config
    last = find_checkpoint(config.run_folder / "checkpoints")
    before: Any = (last.meta.get("config", {}).get("data") or {}).get("streams") if last else None
    if not isinstance(before, int) or before < 1:
        return config.with_streams(stream_count(config, manifest))
    _check_kept(config, manifest, before, ranks)
    return config.with_streams(before)


def _check_kept(config: Config, manifest: Manifest, streams: int, ranks: int) -> None:
    """Raise JobError when a run cannot keep the streams that it began with. The user has not set their number."""
    batch = config.data.global_batch_size
    shards, domain = fewest_shards(config, manifest)
    if batch % streams:
        problem, advice = f"data.global_batch_size={batch} cannot be shared equally among so many", ""
    elif shards < streams:
        problem, advice = f"{domain} has {shards} training shards for so many", ""
    elif streams % ranks:
        fitting = ", ".join(str(number) for number in range(1, streams + 1) if streams % number == 0)
        problem, advice = f"{ranks} ranks cannot share so many equally", f", or start one of {fitting} ranks"
    else:
        return
    raise JobError(
        f"the run folder {config.run_folder} was begun with {streams} streams, and {problem}: choose another `name` "
        f"for a new run{advice or ', or give the settings with which that run was begun'}"
    )


def share_streams(config: Config, manifest: Manifest, accelerator: "Accelerator") -> Config:
    """Return `with_streams` of the main rank on all ranks: others may see an older state of the run folder."""
    from job.system.ranks import on_main

    ranks = accelerator.num_processes
    return config.with_streams(on_main(accelerator, lambda: with_streams(config, manifest, ranks).data.streams))


def check_settled(config: Config, settled: Config, manifest: Manifest, ranks: int) -> None:
    """Check the data of a run whose streams are settled. Raises JobError as `check_data` does.

    A number that was derived from batch and shards is not checked as if the user had set it: the message then names
    what limits it.
    """
    derived = settled.data.streams == stream_count(config, manifest)
    check_data(config if derived else settled, manifest, ranks)
