"""Images and tables as W&B media."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job.evaluation.samples import Faces, Sample
from job.vocabulary import SOURCE, TARGET


@dataclass(frozen=True)
class Samples:
    """The samples of an evaluation at `step`, by role. The source may be absent."""

    step: int
    domains: Mapping[str, Sample]
    class_names: Sequence[str]


def images(paths: dict[str, Path]) -> dict[str, Any]:
    """Return the figures that exist as W&B images."""
    import wandb

    return {name: wandb.Image(str(path)) for name, path in paths.items() if path.exists()}


def face_table(samples: Samples) -> dict[str, Any]:
    """Return tables of target images with prediction and confidence, and of mistakes with their labels, if any."""
    class_names = samples.class_names
    tables = {"figures/target_face_table": _table(samples.domains[TARGET].faces, class_names, truth=False)}
    for role, name in ((SOURCE, "figures/mistake_table_source"), (TARGET, "oracle/mistake_table")):
        sample = samples.domains.get(role)
        if sample is not None and len(sample.mistakes.keys):
            tables[name] = _table(sample.mistakes, class_names, truth=True)
    return tables


def _table(faces: Faces, names: Sequence[str], truth: bool):
    import wandb

    table = wandb.Table(columns=["face", "key", "prediction", "confidence", *(["truth"] if truth else [])])
    for number, key in enumerate(faces.keys):
        row = [wandb.Image(faces.images[number]), key, names[faces.predicted[number]], float(faces.confidence[number])]
        table.add_data(*row, *([names[faces.labels[number]]] if truth else []))
    return table
