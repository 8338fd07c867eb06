"""The command search."""

from pathlib import Path

import click

from job.commands.lists import ListCommand
from job.system.errors import JobError


def read_seeds(seeds: str) -> list[int]:
    """Return the seeds of an option such as ``0,1,2``. Raises JobError for anything else."""
    try:
        numbers = [int(number) for number in seeds.replace(",", " ").split()]
    except ValueError:
        raise JobError(f"--seeds {seeds}: give whole numbers with commas or blanks between, such as 0,1,2") from None
    if len(set(numbers)) < len(numbers) or any(number < 0 for number in numbers):
        raise JobError(f"--seeds {seeds}: give different numbers from 0 on")
    return numbers


@click.command(cls=ListCommand, context_settings={"ignore_unknown_options": True})
@click.argument("config", type=Path)
@click.option("--space", required=True, type=Path, help="YAML file with the keys that vary; see configs/search/.")
@click.option(
    "--trials",
    type=click.IntRange(1),
    default=40,
    show_default=True,
    help="In all processes together.",
)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Trials at once on this machine.")
@click.option("--name", help="Folder below `output`; default: CONFIG-search-SPACE.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the proposals.")
@click.option("--seeds", default="", help="Seeds of each trial's runs, such as 0,1 or 0 1: their mean score counts.")
@click.option(
    "--pruner",
    type=click.Choice(["median", "halving", "none"]),
    default="median",
    show_default=True,
    help="Rule that stops trials early.",
)
@click.option(
    "--compare-by",
    metavar="SCORE",
    help="Score that compares the trials, or a sum of scores; default: selection.score if that is set, else "
    "ensemble+infomax, where ensemble is the agreement with the mean prediction of all trials.",
)
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait for trials of other processes at the end."
)
@click.option("--report", is_flag=True, help="Only show the results so far.")
@click.argument("overrides", nargs=-1)
def search(
    config: Path,
    space: Path,
    trials: int,
    jobs: int,
    name: str | None,
    seed: int,
    seeds: str,
    pruner: str,
    compare_by: str | None,
    wait: bool,
    report: bool,
    overrides: tuple[str, ...],
) -> int:
    """Search for settings that give the highest label-free score, without target labels.

    Trials are runs in OUTPUT/NAME/trial-0000 and so on. Any number of processes may work on one search, also on several
    nodes that share the folder. OVERRIDES are key.sub=value words for all trials. The exit code is 0 when finished, 75
    when stopped: run the same command again to resume. The result is best.yaml, for `train`.

    \b
    Example:
      python -m job search configs/faces.yaml --space configs/search/dann.yaml --trials 40
    """
    from job.search.command import search as run

    return run(
        config,
        space,
        overrides,
        trials=trials,
        jobs=jobs,
        name=name,
        seed=seed,
        seeds=read_seeds(seeds),
        pruner=pruner,
        compare_by=compare_by,
        waits=wait,
        report=report,
    )
