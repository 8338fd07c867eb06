"""Commands that train: train, doctor."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from job.system.echo import echo
from job.system.errors import EXIT_BAD_INPUT, EXIT_OK
from job.system.garbage_pause import imports_without_collection

if TYPE_CHECKING:  # pydantic takes a while to import
    from job.config.schema import Config


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--config", required=True, type=Path, help="YAML file; see configs/.")
@click.option(
    "--check",
    is_flag=True,
    help="Only check configuration and shards. The last line is for scripts: ranks and GPUs of a node, run folder.",
)
@click.option("--nodes", type=click.IntRange(1), default=1, help="With --check: number of nodes; default: one.")
@click.option(
    "--ranks",
    type=click.IntRange(1),
    envvar="JOB_RANKS",
    show_envvar=True,
    help="With --check: ranks on each node; default: one for each GPU, or one.",
)
@click.argument("overrides", nargs=-1)
def train(config: Path, check: bool, nodes: int, ranks: int | None, overrides: tuple[str, ...]) -> int:
    """Train, or resume a run that was stopped.

    OVERRIDES are key.sub=value words. The exit code is 0 when finished, 75 when stopped after a checkpoint: run the
    same command again to resume.

    \b
    Example:
      accelerate launch -m job train --config configs/faces.yaml seed=1 name=faces-1
    """
    from job.config.load import load_config

    resolved = load_config(config, overrides)
    if check:
        from job.training.inputs import open_manifest

        manifest = open_manifest(resolved)
        with imports_without_collection():  # after it, because torch takes a second
            from torch.cuda import device_count

            from job.methods.build import build_method
            from job.training.initial_weights import check_start
            from job.training.streams import check_settled, with_streams

        gpus = device_count()
        ranks = ranks or gpus or 1
        settled = with_streams(resolved, manifest, nodes * ranks)
        check_settled(resolved, settled, manifest, nodes * ranks)
        check_start(build_method(resolved, manifest.size, len(manifest.class_names)), resolved)
        echo(_fits(settled, nodes, ranks))
        echo(f"{ranks} {gpus} {resolved.run_folder}")  # launch scripts read the last line
        return 0
    with imports_without_collection():
        from job.train import train as run
    return run(resolved)


def _fits(config: "Config", nodes: int, ranks: int) -> str:
    """Describe how the ranks share the data of a configuration that was checked."""
    total = nodes * ranks
    images = config.data.global_batch_size // total
    return (
        f"{_count(total, 'rank')} on {_count(nodes, 'node')} can share the data: "
        f"{_count(config.data.streams or 1, 'stream')}, {_count(images, 'image')} per domain, rank and step; "
        f"run folder {config.run_folder}"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


@click.command()
@click.option(
    "--config",
    type=Path,
    help="Check the shards, the run folder and the W&B settings of this file; default: the defaults.",
)
@click.option("--ranks", type=click.IntRange(1), help="Ranks of the run in all; default: those of these nodes.")
@click.option(
    "--preflight",
    is_flag=True,
    help="Only what can be wrong with one node of a job, in seconds; print a line for each fault.",
)
@click.argument("overrides", nargs=-1)
def doctor(config: Path | None, ranks: int | None, preflight: bool, overrides: tuple[str, ...]) -> int:
    """Check that this machine, or under srun every node of the job, is ready for a run, and print how to fix it if not.

    Checks versions, GPUs and driver, shards and their read speed, disk, W&B, and whether the limits suffice for the
    ranks; between nodes an all-reduce of every pair, and the clocks. The exit code is 0, or 2 when a check failed.

    \b
    Examples:
      python -m job doctor --config configs/faces.yaml
      python -m job doctor --config configs/faces.yaml --ranks 512
      srun --nodes=2 --ntasks-per-node=1 python -m job doctor --config configs/faces.yaml
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch's warnings about host names without a reverse entry
    from job.config.load import default_config, load_config

    settings = load_config(config, overrides) if config else default_config(overrides)
    needs_shards = config is not None or any(word.startswith("data.shards=") for word in overrides)
    if preflight:
        from job.doctor.preflight import lines
        from job.doctor.preflight import preflight as examine_node

        faults = examine_node(settings, needs_shards=needs_shards)
        echo(lines(faults))
        return EXIT_BAD_INPUT if faults else EXIT_OK
    from job.doctor.command import doctor as examine
    from job.doctor.nodes import find_nodes

    nodes = find_nodes()
    table, exit_code = examine(settings, nodes, ranks=ranks, needs_shards=needs_shards)
    if table:
        echo(table)
    return exit_code
