"""Commands for data: shards, inspect."""

import os
from pathlib import Path

import click

from job.system.echo import echo
from job.system.errors import JobError

MOST_VIEWS = 50


@click.command()
@click.argument("layout")
@click.option("--root", type=Path, help="Folder of the dataset; generated layouts need none.")
@click.option("--out", required=True, type=Path, help="Folder to write.")
@click.option("--size", type=int, help="Edge of the images in px; default: the layout's, 64 for faces.")
@click.option("--shards", type=int, help="Shards per training split, at least one per rank; default: 64 or more.")
@click.option("--workers", type=int, help="Processes; default: all cores.")
@click.option("--seed", default=0, show_default=True, help="Seed of splits, shuffling and generated images.")
@click.option("--quality", default=95, show_default=True, help="JPEG quality, 1 to 100.")
@click.option(
    "--keep-target-labels",
    is_flag=True,
    help="Keep the target's train and val labels: for train_on_target and oracle curves.",
)
@click.option("--source", help="Name of the labelled domain in the dataset, or none; default: the men.")
@click.option("--target", help="Name of the unlabelled domain; default: the women.")
@click.option("--crop", default="center", show_default=True, help="none, center, or face: the largest face.")
@click.option(
    "--face-model",
    default="cascade",
    show_default=True,
    help="With --crop face: cascade, or yunet (fetched once) or the path of its ONNX file, which also align the face.",
)
@click.option(
    "--no-face",
    default="keep",
    show_default=True,
    help="With --crop face, for images without a face: keep (the centre) or drop.",
)
@click.option("--gray", is_flag=True, help="Store the images without colour.")
@click.option("--scaled-jpeg", is_flag=True, help="Decode large JPEGs at 1/2, 1/4 or 1/8 of their size: much faster.")
@click.option("--max-skipped", default="1%", show_default=True, help="Unreadable images allowed: a share or a number.")
@click.option("--strict", is_flag=True, help="Refuse images of unknown classes instead of leaving them out.")
@click.option(
    "--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the layout, such as train=6000."
)
def shards(layout, root, out, source, target, options, **settings) -> int:
    """Write a dataset as WebDataset shards.

    \b
    Examples:
      python -m job shards faces --out shards/faces --size 48 --option train=6000
      python -m job shards mnist-m --root DIR --out shards/mnist-m
      python -m job shards kdef --root KDEF --out shards/kdef --crop face
      python -m job shards folders --root DIR --source photos --target cartoons --out shards/cartoons
    """
    # this command needs no linear algebra, and every process would start a thread for each core
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from job.datasets import find_layout
    from job.datasets.options import read_options
    from job.shards.writing.write_shards import write_shards
    from job.system.files import refuse_address

    refuse_address("--out", out, "write to one, then copy it and its manifest.json last (docs/data_format.md)")
    layout = find_layout(layout)
    pairs = read_options(layout, options)
    pairs |= {name: value for name, value in (("source", source), ("target", target)) if value is not None}
    write_shards(layout, root, out, options=pairs, **settings)
    return 0


@click.command()
@click.argument("shards", type=str)
@click.argument("overrides", nargs=-1)
@click.option("--verify", is_flag=True, help="Read every byte: checksums, counts, and every image decoded.")
@click.option("--sheet", type=Path, help="Write a contact sheet (PNG).")
@click.option("--views", type=int, help="Draw this many augmented views of some training images instead.")
@click.option("--config", type=Path, help="The configuration whose augmentation --views shows.")
@click.option("--allow-pipe", is_flag=True, help="Let the URL of the shards run a shell command (pipe:...).")
def inspect(
    shards: str,
    overrides: tuple[str, ...],
    verify: bool,
    sheet: Path | None,
    views: int | None,
    config: Path | None,
    allow_pipe: bool,
) -> int:
    """Show the contents of a folder of shards.

    \b
    Examples:
      python -m job inspect shards/faces --verify --sheet sheet.png
      python -m job inspect shards/faces --sheet views.png --views 6 --config configs/faces.yaml data.augment.blur=0.5
    """
    from job.shards.inspection.contact_sheet import check_sheet, write_sheet
    from job.shards.inspection.inspect_shards import inspect_shards

    if sheet is not None:
        check_sheet(sheet)
    shown = _shown_views(sheet, views, config, overrides)
    echo(inspect_shards(shards, verify=verify, allow_pipe=allow_pipe))
    if sheet is not None:  # after the table, which is useful even if the sheet cannot be written
        if shown is None or views is None:
            write_sheet(shards, sheet, allow_pipe=allow_pipe)
        else:
            from job.shards.inspection.augmented_views import write_views

            write_views(shards, sheet, shown.data, shown.seed, views, allow_pipe=allow_pipe)
        echo(f"\ncontact sheet: {sheet}")
    return 0


def _shown_views(sheet: Path | None, views: int | None, config: Path | None, overrides: tuple[str, ...]):
    """Return the configuration whose augmentation is shown, or None. Raises JobError for options that do not fit."""
    if views is None:
        if config is not None or overrides:
            raise JobError("--config and key=value words belong to --views: add --views 6")
        return None
    if sheet is None or config is None:
        raise JobError("--views needs --sheet views.png and --config configs/X.yaml")
    if not 1 <= views <= MOST_VIEWS:
        raise JobError(f"--views {views} must be between 1 and {MOST_VIEWS}")
    from job.config.load import load_config

    return load_config(config, overrides)
