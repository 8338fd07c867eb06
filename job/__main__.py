"""The command line: ``python -m job COMMAND``. Every command imports what it needs when it runs, so --help is quick."""

import os
import sys
from pathlib import Path

import click

from job.errors import EXIT_BAD_INPUT, JobError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(context_settings=CONTEXT)
@click.version_option(package_name=None, version=__import__("job").__version__)
def main() -> None:
    """Domain-adversarial training: labels on one domain, faces of both."""


@main.command(context_settings={"ignore_unknown_options": True})
@click.option("--config", required=True, type=Path, help="YAML file; see configs/.")
@click.option("--check", is_flag=True, help="Check configuration and shards; print ranks, GPUs and the run folder.")
@click.option("--ranks", type=click.IntRange(1), help="With --check: how many; default: one for each GPU, or one.")
@click.argument("overrides", nargs=-1)
def train(config: Path, check: bool, ranks: int | None, overrides: tuple[str, ...]) -> int:
    """Train, or go on with a run that was stopped.

    OVERRIDES are key.sub=value words. Ends in 0 when finished, in 75 when stopped after a checkpoint: the same command
    goes on.

    \b
    Example:
      accelerate launch -m job train --config configs/faces.yaml seed=1 name=faces-1
    """
    from job.config_file import load_config

    resolved = load_config(config, overrides)
    if check:
        from torch.cuda import device_count

        from job.data.manifest import load_manifest
        from job.training.inputs import check_data

        manifest = load_manifest(resolved.data.shards, allow_pipe=resolved.data.allow_pipe)
        gpus = device_count()
        ranks = ranks or gpus or 1
        check_data(resolved, manifest, ranks)
        click.echo(f"{ranks} {gpus} {resolved.run_folder}")
        return 0
    from job.train import train as run

    return run(resolved)


@main.command()
@click.argument("layout")
@click.option("--root", type=Path, help="Folder of the dataset; generated layouts need none.")
@click.option("--out", required=True, type=Path, help="Folder to write.")
@click.option("--size", type=int, help="Edge of the images in px; default: the layout's.")
@click.option("--shards", type=int, help="Shards per training split; default: 64 or more.")
@click.option("--workers", type=int, help="Processes; default: all cores.")
@click.option("--seed", default=0, show_default=True, help="Of splits, shuffling and generated images.")
@click.option("--quality", default=95, show_default=True, help="JPEG quality, 1 to 100.")
@click.option("--keep-target-labels", is_flag=True, help="For the train-on-target upper bound and oracle curves.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Of the layout, for instance train=6000.")
def shards(layout, root, out, size, shards, workers, seed, quality, keep_target_labels, options) -> int:
    """Write a dataset as WebDataset shards.

    \b
    Examples:
      python -m job shards faces --out shards/faces --size 48 --option train=6000
      python -m job shards mnist-m --root DIR --out shards/mnist-m
    """
    import yaml

    from job.data.shards import write_shards

    pairs = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise JobError(f"--option {option!r} is not of the form KEY=VALUE")
        try:
            pairs[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise JobError(f"--option {option!r}: the value is not valid YAML") from None
    write_shards(
        layout,
        root,
        out,
        size=size,
        shards=shards,
        workers=workers,
        seed=seed,
        quality=quality,
        keep_target_labels=keep_target_labels,
        options=pairs,
    )
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
    from job.data.inspect import inspect_shards

    if sheet is not None and not sheet.absolute().parent.is_dir():
        raise JobError(f"--sheet {sheet}: there is no folder {sheet.parent}")
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
@click.argument("runs", nargs=-1, required=True, type=Path)
@click.option("--out", type=Path, help="Folder for comparison.json.")
def compare(runs: tuple[Path, ...], out: Path | None) -> int:
    """Compare finished runs: accuracy by objective, over seeds, and the share of the gap closed.

    \b
    Example:
      python -m job compare runs/faces-* --out comparison
    """
    import json

    from job.evaluation.compare import compare as run
    from job.evaluation.compare import table
    from job.monitor.files import write_atomically

    comparison = run(runs)
    if out is not None:
        if out.exists() and not out.is_dir():
            raise JobError(f"--out {out} is a file: give a folder")
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / "comparison.json", json.dumps(comparison, indent=1) + "\n")
    click.echo(table(comparison))
    return 0


def run() -> int:
    """Run a command; a JobError becomes one line on stderr and exit code 2."""
    try:
        return main(standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return EXIT_BAD_INPUT
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except JobError as error:
        rank = int(os.environ.get("RANK", 0))
        click.echo(f"error: {error}" if rank == 0 else f"error on rank {rank}: {error}", err=True)
        return EXIT_BAD_INPUT


if __name__ == "__main__":
    sys.exit(run())
