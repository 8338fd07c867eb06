"""From a checkpoint folder, and nothing else, to a model that can be used."""

from dataclasses import dataclass
from pathlib import Path

from job.config.load import build_config
from job.config.schema import Config
from job.methods.base import Method
from job.methods.build import build_method, load_weights
from job.run_folder.checkpoint import read_checkpoint


@dataclass(frozen=True)
class Loaded:
    """A model as a checkpoint holds it, in evaluation mode on the CPU, and what is needed to use it."""

    model: Method
    config: Config
    class_names: tuple[str, ...]
    size: int  # px
    quality: int  # of the JPEGs that it was trained on
    crop: str  # how pictures become such JPEGs, see job.shards.writing.crop
    step: int


def load_model(path: Path) -> Loaded:
    """Build the model of a checkpoint folder from nothing but that folder.

    Raises JobError when it is not whole, or its weights do not fit the network or are not finite.

    The folder may come from a stranger: a permission in its configuration counts for nothing.
    """
    checkpoint = read_checkpoint(path)
    meta = checkpoint.meta
    config = build_config(meta["config"], f"{path}/meta.json").with_pipe(False)
    model = build_method(config, meta["size"], len(meta["class_names"]), load_weights=False)
    load_weights(model, checkpoint.weights(), str(path))
    names, crop = tuple(meta["class_names"]), meta.get("crop", "center")
    return Loaded(model.eval(), config, names, meta["size"], meta["quality"], crop, checkpoint.step)
