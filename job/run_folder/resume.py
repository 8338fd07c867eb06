"""Finding the checkpoint that a run resumes from, and checking that it belongs to this run."""

import logging
from pathlib import Path
from typing import NamedTuple

from job.config.load import build_config
from job.config.schema import Config
from job.run_folder.checkpoint import BEST, Checkpoint, find_checkpoint, path_of, point, read_checkpoint
from job.shards.manifest import Manifest
from job.system.errors import JobError

log = logging.getLogger("job")


class Best(NamedTuple):
    """The best checkpoint so far by the selection score; both are None before the first evaluation."""

    step: int | None = None
    score: float | None = None


def find_resume_point(folder: Path, config: Config, manifest: Manifest) -> Checkpoint | None:
    """Return the newest whole checkpoint of the run in `folder`, or None for a new run.

    Logs a warning for each damaged one. Raises JobError when there are checkpoints and none is whole, or when the run
    was started with another configuration or on other shards.
    """
    damaged: list[str] = []
    last = find_checkpoint(folder / "checkpoints", damaged)
    for message in damaged:
        log.warning("%s", message)
    if last is not None:
        _check_same(config, manifest, last)
    elif damaged:
        raise JobError(
            f"no checkpoint of {folder} is whole ({damaged[0]}): choose another `name`, or delete "
            f"{folder}/checkpoints to begin anew"
        )
    return last


def restore_best(folder: Path, last: Checkpoint) -> Best:
    """Let ``best`` in `folder` point where the checkpoint `last` says: a kill may have come before the link moved.

    Returns the best so far. Where its checkpoint is missing or damaged, the choice starts anew.
    """
    best = Best(**last.meta["best"])
    if best.step is None:
        return best
    try:
        chosen = read_checkpoint(path_of(folder, best.step))
    except JobError:
        return Best()
    if (folder / BEST).resolve() != chosen.path:
        point(folder, BEST, chosen.path)
    return best


def _check_same(config: Config, manifest: Manifest, last: Checkpoint) -> None:
    if last.meta["manifest"] != manifest.hash:
        raise JobError(
            f"{config.run_folder} was started on other shards than {config.data.shards}: choose another `name`"
        )
    started = build_config(last.meta["config"], f"{last.path}/meta.json")
    # the kind of score is compared too: the best score so far keeps counting
    before, now = (_flat(one.decisive()) | {"selection.score": one.score} for one in (started, config))
    if before != now:
        changes = [f"{key} {before.get(key)} -> {now[key]}" for key in now if before.get(key) != now[key]]
        raise JobError(
            f"{config.run_folder} was started with another configuration ({'; '.join(changes)}): "
            "choose another `name`, or put the values back to resume it"
        )


def _flat(content: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
