"""Checkpoints: complete or absent, whatever moment the process dies at."""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from job.system.errors import JobError, first_line
from job.system.files import folder_to_disk, to_disk

LATEST, BEST = "latest", "best"
_WEIGHTS, _TRAINER, _META = "model.safetensors", "trainer.pt", "meta.json"
_NAME = re.compile(r"step_(\d{8,})")


@dataclass(frozen=True)
class Checkpoint:
    """A finished checkpoint folder. `meta` holds the step, the configuration, the scores and what else was given."""

    path: Path
    meta: dict[str, Any]

    @property
    def step(self) -> int:
        return self.meta["step"]

    def weights(self) -> dict[str, Tensor]:
        return load_file(self.path / _WEIGHTS)

    def trainer(self) -> dict[str, Any]:
        """State of the optimiser and of the gradient scaler."""
        return torch.load(self.path / _TRAINER, map_location="cpu", weights_only=True)


def save_checkpoint(
    folder: Path, meta: Mapping[str, Any], weights: Mapping[str, Tensor], trainer: Mapping[str, Any]
) -> Checkpoint:
    """Write ``folder/step_XXXXXXXX`` and then point ``latest`` at it.

    Everything goes to a temporary folder, is flushed to the disk and renamed: a crash leaves the earlier checkpoints
    as they were. Raises JobError when the disk is full or cannot be written; what was there before is untouched.
    """
    final = path_of(folder, meta["step"])
    temporary = folder / f".tmp-{final.name}-{os.getpid()}"
    content = save({key: value.contiguous() for key, value in weights.items()})
    try:
        temporary.mkdir(parents=True)
        _write(temporary / _WEIGHTS, content)
        with open(temporary / _TRAINER, "wb") as file:
            torch.save(dict(trainer), file)
            to_disk(file)
        sizes = {name: (temporary / name).stat().st_size for name in (_WEIGHTS, _TRAINER)}
        _write(temporary / _META, json.dumps({**meta, "bytes": sizes}, indent=1).encode())
        folder_to_disk(temporary)
        if final.exists():  # an earlier attempt at this step that `latest` never reached
            shutil.rmtree(final)
        os.rename(temporary, final)
        folder_to_disk(folder)
        point(folder, LATEST, final)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
        shutil.rmtree(temporary, ignore_errors=True)
        last = find_checkpoint(folder)
        kept = f"the last good one is {last.path.name}" if last else "there is no earlier one"
        raise JobError(
            f"cannot write the checkpoint of step {meta['step']} to {folder}: {_why(error)}; {kept}; "
            "free space there and start the same command again"
        ) from error
    return Checkpoint(final, {**meta, "bytes": sizes})


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is, or would be."""
    return folder / f"step_{step:08d}"


def point(folder: Path, name: str, target: Path) -> None:
    """Let the symbolic link `name` in `folder` point at `target`, atomically."""
    link = folder / f".tmp-{name}-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(target.name)
    os.replace(link, folder / name)
    folder_to_disk(folder)


def find_checkpoint(folder: Path, damaged: list[str] | None = None) -> Checkpoint | None:
    """The newest whole checkpoint of a run: `latest`, or the one before it where that is damaged. None: there is none.

    Says in `damaged`, where given, what is wrong with those that are newer.
    """
    candidates = sorted((path for path in folder.glob("step_*") if _NAME.fullmatch(path.name)), reverse=True)
    for path in candidates:
        try:
            return read_checkpoint(path)
        except JobError as error:
            if damaged is not None:
                damaged.append(str(error))
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Open one checkpoint folder, or what ``latest`` or ``best`` points at. Raises JobError when it is not whole."""
    path = Path(path)
    if not path.exists() and not path.is_symlink():
        raise JobError(f"no checkpoint at {path}: give a folder such as runs/NAME/checkpoints/best")
    if (path / "checkpoints").is_dir():
        raise JobError(f"{path} is a run folder: give one of its checkpoints, for instance {path}/checkpoints/best")
    if path.name == "checkpoints" and (path / LATEST).exists():
        raise JobError(f"{path} holds several checkpoints: give one, for instance {path}/{BEST}")
    try:
        meta = json.loads((path / _META).read_text())
        for name, size in meta["bytes"].items():
            if (path / name).stat().st_size != size:
                raise JobError(f"checkpoint {path} is damaged: {name} should be {size} bytes; use another one")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JobError(f"{path} is no whole checkpoint ({_why(error)}): give one that holds {_META}") from None
    return Checkpoint(path.resolve(), meta)


def prune(folder: Path, keep_last: int) -> None:
    """Delete all but the newest `keep_last` checkpoints, sparing those that ``latest`` and ``best`` point at."""
    spared = {(folder / name).resolve().name for name in (LATEST, BEST) if (folder / name).is_symlink()}
    paths = sorted(path for path in folder.glob("step_*") if _NAME.fullmatch(path.name))
    for path in paths[:-keep_last]:
        if path.name not in spared:
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(".tmp-*"):  # what a killed process left behind
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink()


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        to_disk(file)


def _why(error: BaseException) -> str:
    return getattr(error, "strerror", None) or first_line(error)
