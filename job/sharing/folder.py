"""Write a checkpoint as a folder that can be shared: model.safetensors, config.json and README.md, the model card."""

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import yaml
from safetensors.torch import save_file

from job.evaluation.card import WARNING
from job.evaluation.load import ADVERSARY, Loaded, load_model
from job.evaluation.markdown import plain
from job.run_folder.checkpoint_meta import WEIGHTS
from job.run_folder.remote_checkpoint import address_of, read_object
from job.run_folder.shared import CONFIG, HUB, describe, is_shared
from job.system.errors import JobError
from job.system.files import make_folder, sha256_of, writing
from job.system.secrets import scrub

README = "README.md"
FILES = (README, CONFIG, WEIGHTS)  # the only files that are shared
Sizes = list[tuple[str, int]]  # names of files, bytes
_CARD = "model_card.md"
_LARGEST_CARD = 1 << 20  # bytes
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]{0,49}")
_PATH = re.compile(r"^(\| checkpoint \| `+ ?)([^`]*?)( ?`+)", re.MULTILINE)


def write_folder(
    checkpoint: str | Path, out: Path, *, repo: str = "USER/NAME", licence: str = "other"
) -> list[tuple[str, int]]:
    """Write the three files of a shared model to the folder `out`; return their names and sizes in bytes.

    The domain classifier is left out, and so is everything that names the machine, the account or the files of the data
    set. `repo` stands in the card's example. Raises JobError when the checkpoint or the folder cannot be used.
    """
    if not _LICENCE.fullmatch(licence):
        raise JobError(f"--license {licence}: expected an identifier such as apache-2.0, cc-by-nc-4.0 or other")
    if out.is_dir() and not is_shared(out) and any(out.iterdir()):
        raise JobError(f"--out {out} contains other files: give a new folder")
    loaded = load_model(checkpoint)
    weights = {name: value.contiguous() for name, value in loaded.model.state_dict().items()}
    weights = {name: value for name, value in weights.items() if not name.startswith(ADVERSARY)}
    make_folder("--out", out.parent)
    with writing(out, "choose another --out, or make room"):
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            save_file(weights, partial / WEIGHTS, metadata={"format": "pt"})
            about = describe(loaded.meta, sha256_of(partial / WEIGHTS))
            (partial / CONFIG).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            (partial / README).write_text(_readme(loaded, checkpoint, repo, licence), encoding="utf-8")
            os.chmod(partial, 0o755)  # mkdtemp's folder is for its owner alone
            for name in FILES:
                os.chmod(partial / name, 0o644)
            if out.is_dir():
                shutil.rmtree(out)
            os.rename(partial, out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return [(name, (out / name).stat().st_size) for name in FILES]


def _readme(loaded: Loaded, checkpoint: str | Path, repo: str, licence: str) -> str:
    """Return the card: a YAML head for the hub, how to use the model, and the card that `evaluate` wrote, if any."""
    tags = ["emotion-dann", "domain-adaptation", loaded.config.objective.name, loaded.config.model.backbone]
    head = {
        "license": licence,
        "library_name": "emotion-dann",
        "pipeline_tag": "image-classification",
        "tags": tags,
    }
    return scrub(
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n"
        f"{_card(loaded, checkpoint)}\n## How to use it\n\n"
        "With emotion-dann, whose `docs/export.md` describes the files:\n\n"
        f"```\npython -m job predict --checkpoint {HUB}{repo} photos/\n"
        f"python -m job train --config configs/faces.yaml model.weights={HUB}{repo}\n```\n\n"
        f"Input: RGB, {loaded.size} x {loaded.size} px, crop {loaded.crop}, JPEG quality {loaded.quality}; classes: "
        f"{', '.join(map(plain, loaded.class_names))}.\n"
    )


def _card(loaded: Loaded, checkpoint: str | Path) -> str:
    """Return the card of the run, with the last parts of the checkpoint's path only, or a short one without figures."""
    try:
        card = _stored_card(checkpoint)
    except (OSError, ValueError, IndexError):
        card = None
    if card is None:
        return (
            f"# Model card: {plain(loaded.config.name)}\n\n{WARNING}\n\nThis model was not evaluated: `python -m job "
            f"evaluate` writes its error rates for each domain and class.\n"
        )
    return _PATH.sub(lambda match: f"{match[1]}{'/'.join(match[2].split('/')[-3:])}{match[3]}", card)


def _stored_card(checkpoint: str | Path) -> str | None:
    """Return the card in the run folder of a checkpoint, or in its copy in an object store, which may have none."""
    address = address_of(checkpoint)
    if address is None:
        return (Path(checkpoint).resolve().parents[1] / "evaluation" / _CARD).read_text(encoding="utf-8")
    content = read_object(address.rsplit("/", 2)[0], f"evaluation/{_CARD}", _LARGEST_CARD)
    return None if content is None else content.decode()
