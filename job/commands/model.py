"""Commands that use a checkpoint: evaluate, predict, export, push, demo."""

from pathlib import Path
from typing import Any

import click

from job.system.echo import echo
from job.system.garbage_pause import imports_without_collection


def _place(text: str) -> str | Path:
    from job.system.object_store import is_object_store

    return text if is_object_store(text) else Path(text)


_checkpoint = click.option(
    "--checkpoint",
    required=True,
    type=_place,
    metavar="PATH",
    help="Such as runs/NAME/checkpoints/best, or its copy in an object store.",
)


@click.command()
@_checkpoint
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "val", "test"]))
@click.option("--shards", help="Other shards than the model was trained on.")
@click.option("--out", type=Path, help="Write the metrics as JSON.")
@click.option("--allow-pipe", is_flag=True, help="Let the URL of the shards run a shell command (pipe:...).")
@click.option("--paper", type=Path, help="Folder for tables (JSON, Markdown, LaTeX) and figures (PNG, SVG).")
def evaluate(
    checkpoint: str | Path, split: str, shards: str | None, out: Path | None, allow_pipe: bool, paper: Path | None
) -> int:
    """Evaluate a checkpoint, every sample once, on any number of ranks.

    Intervals are a bootstrap clustered by subject, where the shards know the subjects.

    \b
    Examples:
      python -m job evaluate --checkpoint runs/faces/checkpoints/best
      python -m job evaluate --checkpoint runs/faces/checkpoints/best --paper paper/faces
    """
    with imports_without_collection():
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
@_checkpoint
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
def predict(checkpoint: str | Path, out: Path, images: tuple[str, ...], **options: Any) -> int:
    """Predict the classes of images; write a table.

    IMAGES are images, folders of images, folders or URLs of shards, parquet files, and - for a list of paths on stdin.

    \b
    Examples:
      python -m job predict --checkpoint runs/faces/checkpoints/best photos/ --out predictions.csv
      find photos -name '*.jpg' | python -m job predict --checkpoint runs/faces/checkpoints/best - --out list.jsonl
    """
    with imports_without_collection():
        from job.predict import Options
        from job.predict import predict as run
    done, skipped, speed = run(checkpoint, images, out, Options(**options))
    for line in skipped:
        echo(f"skipped {line}", err=True)
    echo(f"{done} predicted, {len(skipped)} skipped, {speed:.0f} images/s: {out}")
    return 0


@click.command()
@_checkpoint
@click.option("--out", default="model.onnx", show_default=True, type=Path, help="x.onnx, x.pt2 or a folder.")
@click.option("--preprocess", is_flag=True, help="Crop and resize inside the file: photos uint8 [n, H, W, 3].")
@click.option("--license", "licence", default="other", show_default=True, help="Of the weights, in a folder's card.")
def export(checkpoint: str | Path, out: Path, preprocess: bool, licence: str) -> int:
    """Write the network of a checkpoint to use it elsewhere: images in, class probabilities out.

    A name that ends in .onnx or .pt2 is a file, ONNX or torch.export, with the normalisation inside. A name without an
    ending is a folder to share: weights (safetensors), configuration (JSON) and model card.

    \b
    Examples:
      python -m job export --checkpoint runs/faces/checkpoints/best --out model.onnx
      python -m job export --checkpoint runs/faces/checkpoints/best --out model.onnx --preprocess
      python -m job export --checkpoint runs/faces/checkpoints/best --out shared/faces
    """
    if not out.suffix:
        from job.sharing.folder import write_folder

        if preprocess:
            raise click.UsageError("--preprocess needs --out with a name that ends in .onnx or .pt2")
        for name, size in write_folder(checkpoint, out, licence=licence):
            echo(f"{out / name}: {size} bytes")
        return 0
    with imports_without_collection():
        from job.export import export as run
    difference = run(checkpoint, out, preprocess)
    echo(f"{out}: its probabilities agree with the network's to {difference:.1g}")
    return 0


@click.command()
@_checkpoint
@click.option("--repo", required=True, metavar="USER/NAME", help="On the Hugging Face hub; made if it is not there.")
@click.option("--public", is_flag=True, help="Make a new repository public; default: private.")
@click.option("--license", "licence", default="other", show_default=True, help="Of the weights, in the card.")
@click.option("--dry-run", is_flag=True, help="Only show what would be sent.")
def push(checkpoint: str | Path, repo: str, public: bool, licence: str, dry_run: bool) -> int:
    """Upload weights, configuration and model card to the Hugging Face hub; the token is in HF_TOKEN.

    No image and no list of the data set is sent. Read what the data set's terms say about weights first.

    \b
    Example:
      python -m job push --checkpoint runs/faces/checkpoints/best --repo USER/NAME --dry-run
    """
    from job.sharing.hub import push as run

    files, address = run(checkpoint, repo, licence=licence, public=public, dry_run=dry_run)
    for name, size in files:
        echo(f"{name}: {size} bytes")
    echo(f"{'nothing sent; it would be' if dry_run else 'sent to'} {address}")
    return 0


@click.command()
@_checkpoint
@click.option("--port", type=click.IntRange(1, 65535), help="Default: the first free one from 7860.")
@click.option("--face-model", help="ONNX file of the face detector, if it is not where it was.")
def demo(checkpoint: str | Path, port: int | None, face_model: str | None) -> int:
    """Serve a page on this computer to try a model on photos, from files or the camera; Ctrl-C ends it.

    The page shows each face with its box, the probabilities and what the prediction rests on (Grad-CAM).

    \b
    Example:
      python -m job demo --checkpoint runs/faces/checkpoints/best
    """
    import signal
    import threading

    from job.demo import serving

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # photos are deleted then too
    try:
        with serving(checkpoint, port, face_model) as address:
            echo(f"{address} (Ctrl-C ends it)")
            threading.Event().wait()
    except KeyboardInterrupt:
        pass
    return 0
