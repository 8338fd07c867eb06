"""Commands that use a checkpoint: evaluate, predict, export."""

from pathlib import Path
from typing import Any

import click

from job.system.echo import echo


@click.command()
@click.option("--checkpoint", required=True, type=Path, help="Such as runs/NAME/checkpoints/best.")
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "val", "test"]))
@click.option("--shards", help="Other shards than the model was trained on.")
@click.option("--out", type=Path, help="Write the metrics as JSON.")
@click.option("--allow-pipe", is_flag=True, help="Let the URL of the shards run a shell command (pipe:...).")
@click.option("--paper", type=Path, help="Folder for tables (JSON, Markdown, LaTeX) and figures (PNG, SVG).")
def evaluate(
    checkpoint: Path, split: str, shards: str | None, out: Path | None, allow_pipe: bool, paper: Path | None
) -> int:
    """Evaluate a checkpoint, every sample once, on any number of ranks.

    Intervals are a bootstrap clustered by subject, where the shards know the subjects.

    \b
    Examples:
      python -m job evaluate --checkpoint runs/faces/checkpoints/best
      python -m job evaluate --checkpoint runs/faces/checkpoints/best --paper paper/faces
    """
    from job.evaluation.command import evaluate_checkpoint

    table, outputs, results = evaluate_checkpoint(checkpoint, split, shards, out, allow_pipe, paper)
    if paper is not None and results:
        from job.monitor.figures.paper import draw_paper

        with outputs.writing(paper):
            draw_paper(results, paper)
    if table:
        echo(table)
    outputs.check("make room, or choose another --out or --paper")
    return 0


@click.command()
@click.option("--checkpoint", required=True, type=Path, help="Such as runs/NAME/checkpoints/best.")
@click.option(
    "--out",
    default="predictions.csv",
    show_default=True,
    type=Path,
    help="Its ending decides: .csv, .jsonl, .parquet.",
)
@click.option("--format", type=click.Choice(["csv", "jsonl", "parquet"]), help="Format, whatever the ending of --out.")
@click.option("--all-faces", is_flag=True, help="A row for each face, not only for the largest one of an image.")
@click.option("--face-model", help="ONNX file of the face detector, if it is not where it was.")
@click.option("--calibrated", is_flag=True, help="Write calibrated probabilities instead of the network's.")
@click.option("--adapt", type=click.Choice(["bn", "tent"]), help="Adapt the network to these images first.")
@click.option("--explain", type=Path, metavar="DIR", help="Folder for Grad-CAM overlays.")
@click.option("--sheet", type=Path, help="Contact sheet (PNG) of the most and the least confident predictions.")
@click.argument("images", nargs=-1, required=True)
def predict(checkpoint: Path, out: Path, images: tuple[str, ...], **options: Any) -> int:
    """Predict the classes of images; write a table.

    IMAGES are images, folders of images, folders or URLs of shards, parquet files, and - for a list of paths on stdin.

    \b
    Examples:
      python -m job predict --checkpoint runs/faces/checkpoints/best photos/ --out predictions.csv
      find photos -name '*.jpg' | python -m job predict --checkpoint runs/faces/checkpoints/best - --out list.jsonl
    """
    from job.predict import Options
    from job.predict import predict as run

    done, skipped, speed = run(checkpoint, images, out, Options(**options))
    for line in skipped:
        echo(f"skipped {line}", err=True)
    echo(f"{done} predicted, {len(skipped)} skipped, {speed:.0f} images/s: {out}")
    return 0


@click.command()
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
    echo(f"{out}: its probabilities agree with the network's to {difference:.1g}")
    return 0
