"""Find the checkpoint that a run resumes from, and check that it belongs to this run."""

import logging
from pathlib import Path
from typing import NamedTuple

from job.config.load import build_config
from job.config.schema import Config
from job.run_folder.checkpoint import Checkpoint, find_checkpoint, read_checkpoint, remove_unfinished
from job.run_folder.differences import differences
from job.run_folder.pointers import BEST, LATEST, adopt_copies, path_of, point, points_at
from job.shards.manifest import Manifest
from job.system.errors import JobError

log = logging.getLogger("job")


class Best(NamedTuple):
    """The best checkpoint so far by the selection score; both are None before the first evaluation."""

    step: int | None = None
    score: float | None = None


def find_resume_point(folder: Path, config: Config, manifest: Manifest) -> Checkpoint | None:
    """Return the newest intact checkpoint of the run in `folder`, or None for a new run.

    Logs a warning for each damaged checkpoint. Raises JobError when all checkpoints are damaged, or when the run was
    started with another configuration or on other shards.
    """
    checkpoints = folder / "checkpoints"
    remove_unfinished(checkpoints)
    _adopt_copied_links(checkpoints)
    damaged: list[str] = []
    last = find_checkpoint(checkpoints, damaged, verify=True)
    for message in damaged:
        log.warning("%s", message)
    if last is not None:
        check_same(config, manifest, last)
    elif damaged:
        raise JobError(
            f"no checkpoint of {folder} is intact ({damaged[0]}): choose another `name`, or delete "
            f"{folder}/checkpoints to start from the beginning"
        )
    return last


def restore_pointers(folder: Path, last: Checkpoint) -> Best:
    """Point ``latest`` and ``best`` in `folder` to `last` and to the best checkpoint that its meta.json records.

    They differ when the process was killed before they moved, or when a newer checkpoint is damaged. Returns the best
    so far. If its checkpoint is missing or damaged, returns an empty `Best`: the selection starts again.
    """
    if points_at(folder, LATEST) != last.path:
        point(folder, LATEST, last.path)
    best = Best(**last.meta["best"])
    if best.step is None:
        return best
    try:
        chosen = read_checkpoint(path_of(folder, best.step))
        if chosen.path != last.path:  # `last` has been verified already
            chosen.verify()
    except JobError as error:
        log.warning("%s; the best checkpoint is chosen anew", error)
        return Best()
    if points_at(folder, BEST) != chosen.path:
        point(folder, BEST, chosen.path)
    return best


def _adopt_copied_links(checkpoints: Path) -> None:
    """Replace the folders that ``cp -rL`` made of ``latest`` and ``best`` by pointers."""
    steps = {}
    for name in (LATEST, BEST):
        if (checkpoints / name).is_dir() and not (checkpoints / name).is_symlink():
            try:
                steps[name] = read_checkpoint(checkpoints / name).step
            except JobError as error:
                log.warning("%s", error)
    adopt_copies(checkpoints, steps)


def check_same(config: Config, manifest: Manifest, last: Checkpoint) -> None:
    """Raise JobError when a checkpoint was written by a run on other shards, or with other decisive settings."""
    if last.meta.get("manifest") != manifest.hash:
        raise JobError(
            f"{config.run_folder} was started on other shards than {config.data.shards}: choose another `name`"
        )
    started = build_config(last.meta["config"], f"{last.path}/meta.json")
    changes = differences(started, config)
    if changes:
        raise JobError(
            f"{config.run_folder} was started with another configuration ({'; '.join(changes)}): "
            "choose another `name`, or put the values back to resume it"
        )
