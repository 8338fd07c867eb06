"""The command line: ``python -m job COMMAND``. Every command imports what it needs when it runs, so --help is quick."""

import os
import socket
import sys
from pathlib import Path

import click

from job.system.errors import EXIT_BAD_INPUT, JobError
from job.system.launch_protocol import process_exit_code, tell_launcher

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(context_settings=CONTEXT)
@click.version_option(package_name=None, version=__import__("job").__version__)
def main() -> None:
    """Domain-adversarial training: labels on one domain, faces of both."""


@main.command(context_settings={"ignore_unknown_options": True})
@click.option("--config", required=True, type=Path, help="YAML file; see configs/.")
@click.option("--check", is_flag=True, help="Only check configuration and shards; print ranks and GPUs, run folder.")
@click.option("--nodes", type=click.IntRange(1), default=1, help="With --check: how many; default: one.")
@click.option(
    "--ranks",
    type=click.IntRange(1),
    envvar="JOB_RANKS",
    show_envvar=True,
    help="With --check: on each node; default: one for each GPU, or one.",
)
@click.argument("overrides", nargs=-1)
def train(config: Path, check: bool, nodes: int, ranks: int | None, overrides: tuple[str, ...]) -> int:
    """Train, or go on with a run that was stopped.

    OVERRIDES are key.sub=value words. Ends in 0 when finished, in 75 when stopped after a checkpoint: the same command
    goes on.

    \b
    Example:
      accelerate launch -m job train --config configs/faces.yaml seed=1 name=faces-1
    """
    from job.config.load import load_config

    resolved = load_config(config, overrides)
    if check:
        from torch.cuda import device_count

        from job.models.build import build_model
        from job.shards.manifest import load_manifest
        from job.training.inputs import check_data

        manifest = load_manifest(resolved.data.shards, allow_pipe=resolved.data.allow_pipe)
        gpus = device_count()
        ranks = ranks or gpus or 1
        check_data(resolved, manifest, nodes * ranks)
        build_model(resolved.model, manifest.size, len(manifest.class_names), resolved.seed)
        click.echo(f"{ranks} {gpus} {resolved.run_folder}")
        return 0
    from job.train import train as run

    return run(resolved)


@main.command()
@click.argument("layout")
@click.option("--root", type=Path, help="Folder of the dataset; generated layouts need none.")
@click.option("--out", required=True, type=Path, help="Folder to write.")
@click.option("--size", type=int, help="Edge of the images in px; default: the layout's, 64 for faces.")
@click.option("--shards", type=int, help="Shards per training split; default: 64 or more.")
@click.option("--workers", type=int, help="Processes; default: all cores.")
@click.option("--seed", default=0, show_default=True, help="Of splits, shuffling and generated images.")
@click.option("--quality", default=95, show_default=True, help="JPEG quality, 1 to 100.")
@click.option("--keep-target-labels", is_flag=True, help="For the train-on-target upper bound and oracle curves.")
@click.option("--source", help="Name of the labelled domain in the dataset; default: the men.")
@click.option("--target", help="Name of the other; default: the women.")
@click.option("--crop", default="center", show_default=True, help="none, center, or face: the largest one found.")
@click.option(
    "--no-face",
    default="keep",
    show_default=True,
    help="With --crop face: keep (the centre) or drop what has none.",
)
@click.option("--max-skipped", default="1%", show_default=True, help="Unreadable images allowed: a share or a number.")
@click.option("--strict", is_flag=True, help="Refuse emotions that are none of the seven, instead of leaving them out.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Of the layout, for instance train=6000.")
def shards(layout, root, out, source, target, options, **settings) -> int:
    """Write a dataset as WebDataset shards.

    \b
    Examples:
      python -m job shards faces --out shards/faces --size 48 --option train=6000
      python -m job shards mnist-m --root DIR --out shards/mnist-m
      python -m job shards kdef --root KDEF --out shards/kdef --crop face
      python -m job shards folders --root DIR --source photos --target cartoons --out shards/cartoons
    """
    # no linear algebra here, and each of the processes would start a thread for every core
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from job.datasets import find_layout
    from job.datasets.options import read_options
    from job.shards.writing.write_shards import write_shards

    layout = find_layout(layout)
    pairs = read_options(layout, options)
    pairs |= {name: value for name, value in (("source", source), ("target", target)) if value is not None}
    write_shards(layout, root, out, options=pairs, **settings)
    return 0


@main.command()
@click.argument("shards", type=str)
@click.option("--verify", is_flag=True, help="Read every byte: checksums, counts, and every image decoded.")
@click.option("--sheet", type=Path, help="Write a contact sheet (PNG).")
def inspect(shards: str, verify: bool, sheet: Path | None) -> int:
    """Say what is in a folder of shards.

    \b
    Example:
      python -m job inspect shards/faces --verify --sheet sheet.png
    """
    from job.shards.inspection.inspect_shards import inspect_shards
    from job.system.files import check_output

    if sheet is not None:
        if sheet.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise JobError(f"--sheet {sheet}: give the name of a picture, such as sheet.png")
        check_output("--sheet", sheet)
    click.echo(inspect_shards(shards, verify=verify, sheet=sheet))
    return 0


@main.command()
@click.option("--checkpoint", required=True, type=Path, help="Such as runs/NAME/checkpoints/best.")
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "val", "test"]))
@click.option("--shards", help="Other shards than the model was trained on.")
@click.option("--out", type=Path, help="Write the figures as JSON.")
def evaluate(checkpoint: Path, split: str, shards: str | None, out: Path | None) -> int:
    """Evaluate a checkpoint, every sample once, on however many ranks are launched.

    \b
    Example:
      python -m job evaluate --checkpoint runs/faces/checkpoints/best
    """
    from job.evaluation.command import evaluate_checkpoint

    table = evaluate_checkpoint(checkpoint, split, shards, out)
    if table:
        click.echo(table)
    return 0


@main.command()
@click.option("--checkpoint", required=True, type=Path, help="Such as runs/NAME/checkpoints/best.")
@click.option("--out", default="predictions.csv", show_default=True, type=Path)
@click.argument("images", nargs=-1, required=True, type=Path)
def predict(checkpoint: Path, out: Path, images: tuple[Path, ...]) -> int:
    """Predict the emotion on pictures and folders of pictures of cropped faces; writes a CSV.

    \b
    Example:
      python -m job predict --checkpoint runs/faces/checkpoints/best photos/ --out predictions.csv
    """
    from job.predict import predict as run

    done, unreadable = run(checkpoint, images, out)
    for line in unreadable:
        click.echo(f"skipped {line}", err=True)
    click.echo(f"{done} predicted, {len(unreadable)} skipped: {out}")
    return 0


@main.command()
@click.option("--checkpoint", required=True, type=Path, help="Such as runs/NAME/checkpoints/best.")
@click.option("--out", default="model.onnx", show_default=True, type=Path)
def export(checkpoint: Path, out: Path) -> int:
    """Write the network of a checkpoint as ONNX: images in, class probabilities out, normalisation included.

    \b
    Example:
      python -m job export --checkpoint runs/faces/checkpoints/best --out model.onnx
    """
    from job.export import export as run

    difference = run(checkpoint, out)
    click.echo(f"{out}: its probabilities agree with the network's to {difference:.1g}")
    return 0


@main.command()
@click.argument("runs", nargs=-1, required=True, type=Path)
@click.option("--out", type=Path, help="Folder for comparison.json, comparison.png and comparison.html.")
def compare(runs: tuple[Path, ...], out: Path | None) -> int:
    """Compare finished runs: accuracy by objective, over seeds, and the share of the gap closed.

    \b
    Example:
      python -m job compare runs/faces-* --out comparison
    """
    import json

    from job.evaluation.compare import compare as run
    from job.evaluation.compare import table
    from job.system.files import make_folder, write_atomically

    comparison = run(runs)
    if out is not None:
        from job.evaluation.compare import curves
        from job.monitor.figures.comparison import draw_comparison
        from job.monitor.report.comparison import CURVES, write_comparison

        make_folder("--out", out)
        write_atomically(out / "comparison.json", json.dumps(comparison, indent=1) + "\n")
        lines = curves(comparison, list(CURVES))
        draw_comparison(comparison, lines, out / "comparison.png")
        write_comparison(comparison, lines, out / "comparison.html")
    click.echo(table(comparison))
    return 0


@main.command()
@click.option(
    "--config", type=Path, help="Whose shards, run folder and W&B settings to look at; default: the defaults."
)
@click.argument("overrides", nargs=-1)
def doctor(config: Path | None, overrides: tuple[str, ...]) -> int:
    """Say whether this machine, or under srun every node of the job, is fit for a run, and what to do where it is not.

    Versions, GPUs and driver, shards and the speed of reading them, disk, W&B, limits; between nodes an all-reduce of
    every pair, and the clocks. Ends in 0, or in 2 when something failed.

    \b
    Examples:
      python -m job doctor --config configs/faces.yaml
      srun --nodes=2 --ntasks-per-node=1 python -m job doctor --config configs/faces.yaml
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch's warnings about host names without a reverse entry
    from job.config.load import build_config, load_config
    from job.doctor.command import doctor as examine
    from job.doctor.nodes import find_nodes

    nodes = find_nodes()
    table, exit_code = examine(load_config(config, overrides) if config else build_config({}, "defaults"), nodes)
    if table:
        click.echo(table)
    return exit_code


@main.command()
@click.argument("runs", nargs=-1, required=True, type=Path)
def report(runs: tuple[Path, ...]) -> int:
    """Draw figures/ and report.html of runs anew, from what their folders hold.

    Training does it after every evaluation; this is for a run that was killed, copied, or trained without figures.

    \b
    Example:
      python -m job report runs/faces-dann
    """
    from job.monitor.figures.draw import draw_figures
    from job.monitor.report.write import write_report
    from job.run_folder.run_view import read_run

    for folder in runs:
        view = read_run(folder)
        draw_figures(view)
        click.echo(write_report(view))
    return 0


@main.command()
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
        click.echo(as_json(entity, project))
        return 0
    for address in save(entity or _default_entity(), project):
        click.echo(address)
    return 0


def _default_entity() -> str:
    import wandb

    try:
        return wandb.Api(timeout=20).default_entity or ""
    except Exception as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise JobError(f"W&B does not say who you are ({why}): `wandb login`, or give --entity") from None


def run() -> int:
    """Run a command; a JobError becomes one line on stderr and exit code 2."""
    try:
        exit_code = main(standalone_mode=False) or 0
        tell_launcher(exit_code)
        return process_exit_code(exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_BAD_INPUT
    except click.ClickException as error:
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "python -m job"
        message = error.format_message().rstrip(".")
        return _refuse(f"{message}{' See' if message.endswith('?') else ': see'} {command} --help")
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: the same command again goes on with what is finished", err=True)
        return 130
    except ModuleNotFoundError as error:
        if (error.name or "job").partition(".")[0] in ("job", "launch"):
            raise
        return _refuse(f"{error.name} is not installed here: source .venv/bin/activate, or make setup")
    except JobError as error:
        rank = int(os.environ.get("RANK", 0))
        where = f" (rank {rank} on {socket.gethostname()})" if rank else ""
        return _refuse(f"{error}{where}")


def _refuse(message: str) -> int:
    click.echo(f"error: {message}", err=True)
    tell_launcher(EXIT_BAD_INPUT, message)
    return EXIT_BAD_INPUT


if __name__ == "__main__":
    sys.exit(run())
