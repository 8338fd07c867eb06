"""Models as they are shared: a folder of config.json, model.safetensors and README.md, on disk or on a hub.

`hf://USER/NAME` or `hf://USER/NAME@REVISION` names such a folder on the Hugging Face hub. Of a hub only the first two
files are read: JSON and tensors, never a pickle.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from job.models.build import HUB
from job.run_folder.checkpoint_meta import WEIGHTS, read_description
from job.system.errors import JobError
from job.system.secrets import brief

CONFIG = "config.json"
MODEL_TYPE = "emotion-dann"
# What config.json holds of a checkpoint's meta.json, besides the parts of the configuration that the network needs.
# Paths, names of machines and accounts, and everything about the data set stay at home.
DESCRIPTION = ("step", "class_names", "size", "quality", "crop", "gray", "jpeg_scaling", "alignment", "confidence")
_REFERENCE = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def describe(meta: Mapping[str, Any], sha256: str) -> dict[str, Any]:
    """Return the content of config.json for a checkpoint with this meta.json and a file of weights."""
    config = meta["config"]
    # the weights are those of the folder, and what is frozen concerns training alone
    model = {**{key: value for key, value in config["model"].items() if key != "freeze"}, "weights": "none"}
    names = list(meta["class_names"])
    return {
        "model_type": MODEL_TYPE,
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        **{key: meta[key] for key in DESCRIPTION if meta.get(key) is not None},
        "config": {
            "name": config["name"],
            "model": model,
            "objective": config["objective"],
            "data": {key: config["data"][key] for key in ("mean", "std", "standardize") if key in config["data"]},
        },
        "sha256": {WEIGHTS: sha256},
    }


def is_shared(folder: Path) -> bool:
    """Return whether a folder is a shared model and not a checkpoint of a run."""
    return os.path.isfile(folder / CONFIG) and os.path.isfile(folder / WEIGHTS)


def read_shared(folder: Path) -> dict[str, Any]:
    """Read and check config.json of a shared model. Raises JobError when it is not one of this project."""
    try:
        return read_description(folder / CONFIG)
    except (OSError, ValueError) as error:
        raise JobError(
            f"{folder} is no model of this project ({brief(error)}): give one that `job export` wrote"
        ) from None


def reference_in(path: str | Path) -> str | None:
    """Return USER/NAME[@REVISION] of a path such as hf://USER/NAME, None for any other. A Path has lost a slash."""
    text = str(path)
    prefix = next((prefix for prefix in (HUB, HUB[:-1]) if text.startswith(prefix)), None)
    return None if prefix is None else text.removeprefix(prefix).strip("/")


def is_reference(path: str | Path) -> bool:
    """Return whether a path names a model on the hub, and not a file below it: hf://USER/NAME/FOLDER."""
    reference = reference_in(path)
    return reference is not None and (reference.count("/") < 2 or _REFERENCE.fullmatch(reference) is not None)


def fetch(reference: str) -> Path:
    """Return the local copy of a model on the hub, which is downloaded unless it is in the cache.

    The token, for a private model, is that of the environment (HF_TOKEN). Raises JobError when it cannot be had.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise JobError(f"{HUB}{reference} is not of the form {HUB}USER/NAME or {HUB}USER/NAME@REVISION")
    huggingface_hub = import_hub()
    try:
        folder = huggingface_hub.snapshot_download(match[1], revision=match[2], allow_patterns=[CONFIG, WEIGHTS])
    except Exception as error:  # the library raises errors of many types, of its own and of its HTTP client
        raise JobError(
            f"cannot download {HUB}{reference} ({brief(error)}): check the name, the network and HF_TOKEN"
        ) from None
    if not is_shared(Path(folder)):
        raise JobError(f"{HUB}{reference} holds no {CONFIG} and {WEIGHTS}: it is no model of this project")
    return Path(folder)


def import_hub() -> Any:
    """Return the module huggingface_hub. Raises JobError when it is not installed."""
    try:
        import huggingface_hub
    except ImportError:
        raise JobError("models on the hub need huggingface_hub: pip install huggingface_hub") from None
    return huggingface_hub
