"""Commands that train: train, doctor."""

import os
from pathlib import Path

import click

from job.system.echo import echo
from job.system.errors import EXIT_BAD_INPUT, EXIT_OK


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--config", required=True, type=Path, help="YAML file; see configs/.")
@click.option("--check", is_flag=True, help="Only check configuration and shards; print ranks and GPUs, run folder.")
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
        from job.training.inputs import check_data, open_manifest, stream_count

        manifest = open_manifest(resolved)
        # after it, because torch takes two seconds
        from torch.cuda import device_count

        from job.methods.build import build_method
        from job.training.streams import with_streams

        settled = with_streams(resolved, manifest)
        if settled.data.streams != stream_count(resolved, manifest):
            resolved = settled  # the number that the run began with; of a new one, a refusal names what limits it
        gpus = device_count()
        ranks = ranks or gpus or 1
        check_data(resolved, manifest, nodes * ranks)
        build_method(resolved, manifest.size, len(manifest.class_names))
        echo(f"{ranks} {gpus} {resolved.run_folder}")
        return 0
    from job.train import train as run

    return run(resolved)


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
    from job.config.load import build_config, load_config

    settings = load_config(config, overrides) if config else build_config({}, "defaults")
    if preflight:
        from job.doctor.preflight import lines
        from job.doctor.preflight import preflight as examine_node

        faults = examine_node(settings)
        echo(lines(faults))
        return EXIT_BAD_INPUT if faults else EXIT_OK
    from job.doctor.command import doctor as examine
    from job.doctor.nodes import find_nodes

    nodes = find_nodes()
    table, exit_code = examine(settings, nodes, ranks=ranks)
    if table:
        echo(table)
    return exit_code
