"""Images and tables as W&B media."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job.evaluation.samples import Faces, Sample


@dataclass(frozen=True)
class Samples:
    """The samples of an evaluation at `step`: source, target."""

    step: int
    domains: Sequence[Sample]
    class_names: Sequence[str]


def images(paths: dict[str, Path]) -> dict[str, Any]:
    """Return the figures that exist as W&B images."""
    import wandb

    return {name: wandb.Image(str(path)) for name, path in paths.items() if path.exists()}


def face_table(samples: Samples) -> dict[str, Any]:
    """Return tables of target images with prediction and confidence, and of mistakes with their labels, if any."""
    source, target = samples.domains
    class_names = samples.class_names
    tables = {"figures/target_face_table": _table(target.faces, class_names, truth=False)}
    for name, faces in (("figures/mistake_table_source", source.mistakes), ("oracle/mistake_table", target.mistakes)):
        if len(faces.keys):
            tables[name] = _table(faces, class_names, truth=True)
    return tables


def _table(faces: Faces, names: Sequence[str], truth: bool):
    import wandb

    table = wandb.Table(columns=["face", "key", "prediction", "confidence", *(["truth"] if truth else [])])
    for number, key in enumerate(faces.keys):
        row = [wandb.Image(faces.images[number]), key, names[faces.predicted[number]], float(faces.confidence[number])]
        table.add_data(*row, *([names[faces.labels[number]]] if truth else []))
    return table
