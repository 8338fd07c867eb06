"""The run folder: opening a run or going on with one, saving into it, and saying how it ended."""

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from job.config.load import build_config
from job.config.schema import Config
from job.models.dann import DANN
from job.run_folder import checkpoint as checkpoints
from job.shards.manifest import Manifest
from job.system.errors import EXIT_BAD_INPUT, EXIT_CRASH, JobError
from job.system.files import InUse, lock, write_atomically
from job.system.launch_protocol import LOCK_WAIT
from job.system.log import set_up_log

log = logging.getLogger("job")


def open_run_folder(config: Config, manifest: Manifest, accelerator: Accelerator) -> checkpoints.Checkpoint | None:
    """Make the run folder, or find the checkpoint to go on from. The main rank decides for all."""
    folder = config.run_folder
    found: list = [None, None]  # where the newest checkpoint is, and which is the best so far

    def open_it() -> None:
        try:
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            (folder / "evaluation").mkdir(exist_ok=True)
            _lock(folder)
            set_up_log(folder, main=True)
            damaged: list[str] = []
            last = checkpoints.find_checkpoint(folder / "checkpoints", damaged)
            for message in damaged:
                log.warning("%s", message)
            if last:
                _check_same(config, manifest, last)
                found[:] = last.path, _restore_best(folder / "checkpoints", last.meta["best"])
                done = last.step >= config.train.steps
                what = "nothing left to train, evaluating once more:" if done else "going on from"
                log.info("%s step %d of %d in %s", what, last.step, config.train.steps, folder)
            elif damaged:
                raise JobError(
                    f"no checkpoint of {folder} is whole ({damaged[0]}): choose another `name`, or delete "
                    f"{folder}/checkpoints to begin anew"
                )
            else:
                log.info("starting %s on %d rank(s)", folder, accelerator.num_processes)
            write_atomically(folder / "config.yaml", config.to_yaml())
            write_status(folder, "running")
        except OSError as error:
            raise JobError(f"cannot write the run folder {folder}: {error.strerror}; choose another `output`") from None

    if not accelerator.is_main_process:
        set_up_log(None, main=False)
    on_main(accelerator, open_it)
    _open.add(folder)
    broadcast_object_list(found)
    if found[0] is None:
        return None
    last = checkpoints.read_checkpoint(found[0])
    return checkpoints.Checkpoint(last.path, last.meta | {"best": found[1]})


_open: set[Path] = set()  # folders of runs that this rank takes part in
_locks = {}  # open files: a lock lasts as long as its process


def _lock(folder: Path) -> None:
    """Keep a second job out of the folder, for as long as this process lives."""
    give_up = time.monotonic() + float(os.environ.get(LOCK_WAIT, 0))
    while folder not in _locks:
        try:
            _locks[folder] = lock(folder / "lock")
        except InUse as holder:
            if time.monotonic() >= give_up:
                raise JobError(
                    f"{folder} is in use by {holder}: wait for it, stop it with `touch {folder}/stop`, "
                    "or choose another `name`"
                ) from None
            time.sleep(0.5)
        except OSError as error:  # a file system without locks
            log.warning("cannot lock %s (%s): make sure that no other job uses it", folder, error.strerror)
            return


def close_run_folder(folder: Path) -> None:
    _open.discard(folder)
    if folder in _locks:
        _locks.pop(folder).close()


def _check_same(config: Config, manifest: Manifest, last: checkpoints.Checkpoint) -> None:
    if last.meta["manifest"] != manifest.hash:
        raise JobError(
            f"{config.run_folder} was started on other shards than {config.data.shards}: choose another `name`"
        )
    started = build_config(last.meta["config"], f"{last.path}/meta.json")
    # the scores of two kinds cannot be compared, and the best one so far goes on to count
    before, now = (_flat(one.decisive()) | {"selection.score": one.score} for one in (started, config))
    if before != now:
        changes = [f"{key} {before.get(key)} -> {now[key]}" for key in now if before.get(key) != now[key]]
        raise JobError(
            f"{config.run_folder} was started with another configuration ({'; '.join(changes)}): "
            "choose another `name`, or put the values back to go on with it"
        )


def _restore_best(folder: Path, best: dict) -> dict:
    """Let ``best`` point at what the newest checkpoint says: a kill may have come between that one and the link.

    Returns the best so far. Where its checkpoint is gone, for it had given way to one that is damaged now, the choice
    begins anew.
    """
    if best["step"] is None:
        return best
    try:
        chosen = checkpoints.read_checkpoint(checkpoints.path_of(folder, best["step"]))
    except JobError:
        return {"step": None, "score": None}
    if (folder / checkpoints.BEST).resolve() != chosen.path:
        checkpoints.point(folder, checkpoints.BEST, chosen.path)
    return best


def _flat(content: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def describe(config: Config, manifest: Manifest, accelerator: Accelerator, wandb_id: str | None) -> dict:
    """The part of ``meta.json`` that is the same at every step: enough to use a checkpoint far from its run folder."""
    return {
        "fingerprint": config.fingerprint(),
        "manifest": manifest.hash,
        "ranks": accelerator.num_processes,
        "wandb_id": wandb_id,
        "class_names": manifest.class_names,
        "size": manifest.size,
        "quality": manifest.quality,
        "crop": manifest.crop,
        "config": config.model_dump(mode="json"),
    }


def save(
    folder: Path, config: Config, meta: dict, network: DANN, optimizer, accelerator: Accelerator, best: bool
) -> None:
    """Write a checkpoint, let ``latest`` and perhaps ``best`` point at it, and delete old ones. On the main rank."""
    scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else {}
    trainer = {"optimizer": optimizer.state_dict(), "scaler": scaler}
    saved = checkpoints.save_checkpoint(folder / "checkpoints", meta, network.state_dict(), trainer)
    if best:
        checkpoints.point(folder / "checkpoints", checkpoints.BEST, saved.path)
    checkpoints.prune(folder / "checkpoints", config.train.keep_last)


def on_main(accelerator: Accelerator, action: Callable[[], None]) -> None:
    """Do something on the main rank; when it fails, every rank raises the same JobError instead of waiting for it."""
    outcome: list[str | None] = [None]
    if accelerator.is_main_process:
        try:
            action()
        except JobError as error:
            outcome[0] = str(error)
        except OSError as error:
            outcome[0] = f"cannot write {error.filename} ({error.strerror}): make room, then the same command goes on"
    broadcast_object_list(outcome)
    if outcome[0] is not None:
        raise JobError(outcome[0])


def write_status(folder: Path, status: str, exit_code: int | None = None, message: str | None = None) -> None:
    """How the run stands, or how it ended, for people and for scripts."""
    content = {"status": status, "exit_code": exit_code} | ({"message": message} if message else {})
    try:
        write_atomically(folder / "status.json", json.dumps(content) + "\n")
    except OSError as error:
        log.warning("cannot write status.json: %s", error)


def say_why_it_failed(folder: Path, error: BaseException) -> None:
    """Let status.json say so, whichever rank it is, if the folder is open. The others break off with less to say."""
    if folder not in _open:
        return
    if isinstance(error, JobError):
        write_status(folder, "failed", EXIT_BAD_INPUT, str(error))
    elif not _has_ended(folder):
        write_status(folder, "failed", EXIT_CRASH)


def _has_ended(folder: Path) -> bool:
    try:
        return json.loads((folder / "status.json").read_text())["status"] != "running"
    except (OSError, ValueError):
        return False
