"""Commands that show runs: compare, report, dashboard."""

from pathlib import Path

import click

from job.system.echo import echo
from job.system.errors import JobError, first_line
from job.system.outputs import Outputs


@click.command()
@click.argument("runs", nargs=-1, type=Path)
@click.option("--out", type=Path, help="Folder for comparison.json, comparison.png and comparison.html, or pair.json.")
@click.option("--pair", nargs=2, type=Path, help="Two checkpoints or runs: McNemar's test on the target's test images.")
def compare(runs: tuple[Path, ...], out: Path | None, pair: tuple[Path, Path] | None) -> int:
    """Compare finished runs: accuracy by objective, over seeds, and the share of the gap closed.

    With --pair, compare two models image by image.

    \b
    Examples:
      python -m job compare runs/faces-* --out comparison
      python -m job compare --pair runs/faces-dann-0 runs/faces-source_only-0
    """
    import json

    from job.system.files import make_folder, write_atomically

    if pair is not None:
        if runs:
            raise JobError("--pair compares two models: leave out the other runs")
        return _compare_pair(pair, out)
    if not runs:
        raise JobError("no runs: give finished runs, such as runs/faces-*, or --pair A B")
    from job.evaluation.compare import compare as run
    from job.evaluation.compare_text import table

    comparison = run(runs)
    outputs = Outputs()
    if out is not None:
        from job.evaluation.compare import curves
        from job.metric_names import COMPARED
        from job.monitor.figures.comparison import draw_comparison
        from job.monitor.report.comparison import write_comparison

        with outputs.writing(out):
            make_folder("--out", out)
            write_atomically(out / "comparison.json", json.dumps(comparison, indent=1) + "\n")
            draw_comparison(comparison, out / "comparison.png")
            lines = curves(comparison, COMPARED)
            write_comparison(comparison, lines, out / "comparison.html", out / "comparison.png")
    echo(table(comparison))
    outputs.check("make room, or choose another --out")
    return 0


def _compare_pair(pair: tuple[Path, Path], out: Path | None) -> int:
    import json

    from job.evaluation.results.pair import compare_checkpoints, pair_text
    from job.system.files import make_folder, write_atomically

    result, outputs = compare_checkpoints(pair), Outputs()
    if out is not None:
        with outputs.writing(out):
            make_folder("--out", out)
            write_atomically(out / "pair.json", json.dumps(result, indent=1) + "\n")
    echo(pair_text(result))
    outputs.check("make room, or choose another --out")
    return 0


@click.command()
@click.argument("runs", nargs=-1, required=True, type=Path)
def report(runs: tuple[Path, ...]) -> int:
    """Draw figures/ and report.html of runs again, from the files in their folders.

    Training draws them after every evaluation; use this for a run that was killed, copied, or trained without figures.

    \b
    Example:
      python -m job report runs/faces-dann
    """
    from job.monitor.figures.draw import draw_figures
    from job.monitor.report.write import write_report
    from job.run_folder.run_view import read_run

    outputs = Outputs()
    for folder in runs:
        view = read_run(folder)
        with outputs.writing(f"figures of {folder}"):
            draw_figures(view)
        with outputs.writing(folder / "report.html"):
            echo(write_report(view))
    outputs.check("make room, or make it writable")
    return 0


@click.command()
@click.option("--entity", default="", help="W&B user or team; default: that of your key.")
@click.option("--project", default="emotion-dann", show_default=True, help="W&B project, as wandb.project.")
@click.option("--dry-run", is_flag=True, help="Print the JSON instead of sending it; needs no network.")
def dashboard(entity: str, project: str, dry_run: bool) -> int:
    """Write the project's W&B workspace and a report to start from, laid out for this job.

    Needs wandb-workspaces: pip install --requirement requirements-dashboard.txt

    \b
    Example:
      python -m job dashboard --entity my-team --project emotion-dann
    """
    from job.monitor.wandb.dashboard import as_json, save

    if dry_run:
        echo(as_json(entity, project))
        return 0
    for address in save(entity or _default_entity(), project):
        echo(address)
    return 0


def _default_entity() -> str:
    import wandb

    try:
        return wandb.Api(timeout=20).default_entity or ""
    except Exception as error:
        raise JobError(f"W&B names no user ({first_line(error)}): run `wandb login`, or pass --entity") from None
