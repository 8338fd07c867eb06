"""Save and load checkpoints: each is complete or absent, whenever the process dies."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from job.run_folder.checkpoint_meta import META, TRAINER, WEIGHTS, read_meta
from job.run_folder.pointers import BEST, LATEST, checkpoint_paths, follow, path_of, point, points_at
from job.run_folder.shared import fetch, is_shared, read_shared, reference_in
from job.system.errors import JobError, first_line
from job.system.files import fsync_file, fsync_folder, require_regular, sha256_of

_BLOCK = 1 << 24  # bytes


@dataclass(frozen=True)
class Checkpoint:
    """A finished checkpoint folder. `meta` is its meta.json: step, configuration, scores and everything else saved."""

    path: Path
    meta: dict[str, Any]

    @property
    def step(self) -> int:
        return self.meta["step"]

    @property
    def shared(self) -> bool:
        """Whether this is a shared model: without a domain classifier, and without a state to resume from."""
        return "bytes" not in self.meta

    def weights(self) -> dict[str, Tensor]:
        """Return the network's tensors. Raises JobError when the file is damaged."""
        self._check_sum(WEIGHTS)
        return self._load_weights()

    def trainer(self) -> dict[str, Any]:
        """Return the state of the optimiser and of the gradient scaler. Raises JobError when the file is damaged."""
        self._check_sum(TRAINER)
        return self._load_trainer()

    def verify(self) -> None:
        """Read both files to the end and compare checksums. Raises JobError when one is damaged.

        Checkpoints of version 0.1 have no checksums: their files are parsed instead. Afterwards the files are in the
        page cache, so that loading them costs little more.
        """
        if not self.meta.get("sha256"):
            self._load_weights()
            self._load_trainer()
            return
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self._check_sum, (TRAINER, WEIGHTS)))

    def _load_weights(self) -> dict[str, Tensor]:
        try:
            return load_file(self.path / WEIGHTS)
        except Exception as error:  # safetensors and torch raise many kinds of errors for a damaged file
            raise self.damage(f"{WEIGHTS} cannot be read ({_why(error)})") from None

    def _load_trainer(self) -> dict[str, Any]:
        try:
            state = torch.load(self.path / TRAINER, map_location="cpu", weights_only=True)
        except Exception as error:
            raise self.damage(f"{TRAINER} cannot be read ({_why(error)})") from None
        if not isinstance(state, dict):
            raise self.damage(f"{TRAINER} contains no state of an optimiser")
        return state

    def _check_sum(self, name: str) -> None:
        expected = self.meta.get("sha256", {}).get(name)
        try:
            if expected is not None and sha256_of(self.path / name) != expected:
                raise self.damage(f"the content of {name} does not match its checksum")
        except OSError as error:
            raise self.damage(f"{name} cannot be read ({_why(error)})") from None

    def damage(self, what: str) -> JobError:
        """Return the error that names this checkpoint."""
        return JobError(f"checkpoint {self.path} is damaged: {what}; use another one")


def copy_checked(checkpoint: Checkpoint, folder: Path) -> None:
    """Copy weights and state of a checkpoint to a folder, reading each once.

    Raises JobError when the content of one does not match its checksum, and OSError when it cannot be copied.
    """
    for name in (WEIGHTS, TRAINER):
        expected, digest = checkpoint.meta.get("sha256", {}).get(name), hashlib.sha256()
        with open(checkpoint.path / name, "rb") as file, open(folder / name, "wb") as copy:
            while block := file.read(_BLOCK):
                digest.update(block)
                copy.write(block)
        if expected is not None and digest.hexdigest() != expected:
            raise checkpoint.damage(f"the content of {name} does not match its checksum")


def save_checkpoint(
    folder: Path, meta: Mapping[str, Any], weights: Mapping[str, Tensor], trainer: Mapping[str, Any]
) -> Checkpoint:
    """Write ``folder/step_XXXXXXXX`` and then point ``latest`` at it.

    All files are written to a temporary folder, flushed to the disk and renamed: a crash leaves the earlier checkpoints
    unchanged. Raises JobError when the disk is full or cannot be written; the earlier checkpoints are then unchanged.
    """
    final = path_of(folder, meta["step"])
    temporary = folder / f".tmp-{final.name}-{os.getpid()}"
    content = save({key: value.contiguous() for key, value in weights.items()})
    try:
        temporary.mkdir()
        with open(temporary / WEIGHTS, "wb") as file, ThreadPoolExecutor(1) as pool:
            hashing = pool.submit(lambda: hashlib.sha256(content).hexdigest())  # while the disk writes
            file.write(content)
            fsync_file(file)
            sums = {WEIGHTS: hashing.result()}
        sums[TRAINER] = _write_trainer(temporary / TRAINER, trainer)
        sizes = {name: (temporary / name).stat().st_size for name in sums}
        meta = {**meta, "bytes": sizes, "sha256": sums}
        with open(temporary / META, "wb") as file:
            file.write(json.dumps(meta, indent=1).encode())
            fsync_file(file)
        fsync_folder(temporary)
        if final.exists():  # damaged, or an earlier attempt at this step that `latest` never reached
            shutil.rmtree(final)
        os.rename(temporary, final)
        fsync_folder(folder)
        point(folder, LATEST, final)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise _cannot_write(folder, meta["step"], error) from error
    return Checkpoint(final, dict(meta))


def _cannot_write(folder: Path, step: int, error: OSError) -> JobError:
    last = find_checkpoint(folder)
    kept = f"the last good one is {last.path.name}" if last else "there is no earlier one"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "free space there" if full else "make that folder writable"
    return JobError(
        f"cannot write the checkpoint of step {step} to {folder}: {_why(error)}; {kept}; "
        f"{advice} and start the same command again"
    )


def find_checkpoint(folder: Path, damaged: list[str] | None = None, *, verify: bool = False) -> Checkpoint | None:
    """Return the newest intact checkpoint of a run; None if there is none. Damaged ones are skipped.

    With `verify`, read each file to its end; otherwise compare only its size. Append to `damaged`, if given, one
    message for each newer checkpoint that is damaged.
    """
    for path in reversed(checkpoint_paths(folder)):
        try:
            found = read_checkpoint(path)
            if verify:
                found.verify()
            return found
        except JobError as error:
            if damaged is not None:
                damaged.append(str(error))
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint folder, the checkpoint that ``latest`` or ``best`` points to, or a shared model.

    A shared model is a folder that `export` wrote, or hf://USER/NAME on the hub; it has no state to resume from. Checks
    the sizes of the files; their checksums are checked when they are loaded. Raises JobError when the checkpoint is not
    complete.
    """
    reference = reference_in(path)
    path = Path(path) if reference is None else fetch(reference)
    if is_shared(path):
        return Checkpoint(path, read_shared(path))
    if not os.path.lexists(path):
        if path.name == BEST and os.path.lexists(path.with_name(LATEST)):
            raise JobError(
                f"no checkpoint at {path}: the run has not been evaluated yet; {path.with_name(LATEST)} exists"
            )
        raise JobError(f"no checkpoint at {path}: give a folder such as runs/NAME/checkpoints/best")
    if os.path.isdir(path / "checkpoints"):
        raise JobError(f"{path} is a run folder: give one of its checkpoints, for instance {path}/checkpoints/best")
    if path.name == "checkpoints" and os.path.lexists(path / LATEST):
        raise JobError(f"{path} contains several checkpoints: give one, for instance {path}/{BEST}")
    folder = follow(path)
    try:
        meta = read_meta(folder)
        for name, size in meta["bytes"].items():
            require_regular(folder / name)
            if (folder / name).stat().st_size != size:
                raise JobError(f"checkpoint {path} is damaged: {name} should be {size} bytes; use another one")
    except (OSError, ValueError) as error:
        raise JobError(f"{path} is not a complete checkpoint ({_why(error)}): give one that holds {META}") from None
    return Checkpoint(folder, meta)


def prune(folder: Path, keep_last: int) -> None:
    """Delete all but the newest `keep_last` checkpoints; keep those that ``latest`` and ``best`` point to."""
    spared = {target.name for name in (LATEST, BEST) if (target := points_at(folder, name)) is not None}
    for path in checkpoint_paths(folder)[:-keep_last]:
        if path.name not in spared:
            shutil.rmtree(path, ignore_errors=True)
    remove_unfinished(folder)


def remove_unfinished(folder: Path) -> None:
    """Delete the temporary files and folders of killed processes. Call it only while the run's lock is locked."""
    for path in folder.glob(".tmp-*"):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink()


class _HashingWriter:
    """A file for `torch.save` that computes sha256 as it writes, and keeps the OSError that torch replaces."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def _write_trainer(path: Path, trainer: Mapping[str, Any]) -> str:
    """Write the state, flush it to the disk and return its sha256. Raises OSError."""
    with open(path, "wb") as file:
        writer = _HashingWriter(file)
        try:
            torch.save(dict(trainer), writer)
        except RuntimeError:
            if writer.error is None:
                raise
            raise writer.error from None
        fsync_file(file)
    return writer.digest.hexdigest()


def _why(error: BaseException) -> str:
    return getattr(error, "strerror", None) or first_line(error)
