"""The command crossval."""

from pathlib import Path

import click

from job.commands.lists import ListCommand
from job.commands.search import read_seeds


@click.command(cls=ListCommand, context_settings={"ignore_unknown_options": True})
@click.argument("config", type=Path)
@click.option("--folds", type=click.IntRange(2), help="Required number of folds of the shards; default: any.")
@click.option(
    "--seeds",
    default="",
    help="Such as 0,1,2 or 0 1 2: each fold is trained with each seed; default: the configuration's.",
)
@click.option(
    "--methods", default="", help="Such as source_only,dann+mcc or source_only dann+mcc; default: the configuration's."
)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at once on this machine.")
@click.option("--name", help="Folder below `output`; default: CONFIG-crossval.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for runs of other processes at the end.")
@click.option("--report", is_flag=True, help="Only show the results of finished runs.")
@click.argument("overrides", nargs=-1)
def crossval(
    config: Path,
    folds: int | None,
    seeds: str,
    methods: str,
    jobs: int,
    name: str | None,
    wait: bool,
    report: bool,
    overrides: tuple[str, ...],
) -> int:
    """Train on all folds but one, test on that one, for each fold in turn.

    The shards must be in folds: `shards ... --option folds=5`. Each run is an ordinary one, in OUTPUT/NAME; finished
    ones are reused. Any number of processes may work on one cross-validation, also on several nodes that share the
    folder. The exit code is 0 when finished, 75 when stopped: run the same command again to resume. Results are in
    crossval.json and crossval.md.

    \b
    Example:
      python -m job crossval configs/small_faces.yaml --folds 5 --methods source_only dann+mcc
    """
    from job.crossval.command import crossval as run

    return run(
        config,
        overrides,
        folds=folds,
        seeds=read_seeds(seeds),
        methods=methods.replace(",", " ").split(),
        jobs=jobs,
        name=name,
        waits=wait,
        report=report,
    )
