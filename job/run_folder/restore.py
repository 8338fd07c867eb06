"""Fetch a run from its copy in an object store (`mirror`): its folder is gone, or another node has it."""

import json
import logging
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import gather_object

from job.config.schema import Config
from job.run_folder.checkpoint import Checkpoint, find_checkpoint, read_checkpoint
from job.run_folder.checkpoint_meta import LARGEST, META, read_meta
from job.run_folder.mirror import CHECKPOINTS, EVALUATION, FILES, checkpoints_in
from job.run_folder.pointers import path_of, step_in
from job.run_folder.remote_checkpoint import download
from job.run_folder.resume import check_same
from job.shards.manifest import Manifest
from job.system.errors import JobError, first_line
from job.system.files import fsync_folder, write_atomically, writing
from job.system.log import set_up_log
from job.system.object_store import ObjectStore
from job.system.ranks import Problem, on_main, raise_first
from job.system.transfer import RemoteError, with_retries

log = logging.getLogger("job")
_ADVICE = "make room, or choose another `output`"
_MOST = 256 << 20  # bytes of a file that is not a checkpoint's


def restore(config: Config, manifest: Manifest, accelerator: Accelerator) -> None:
    """Download the newest complete checkpoint of a run, if its folder has none as new; all ranks must call this.

    The best checkpoint, the metrics and the evaluations come with it. Does nothing without `mirror`. Raises JobError
    when the copy is that of another run, or when it cannot be read and the folder has no checkpoint.
    """
    address = config.mirrored
    if address is not None:
        set_up_log(None, main=accelerator.is_main_process)  # log.txt follows when the run folder is open
        on_main(accelerator, lambda: _restore(config, manifest, address))


def _restore(config: Config, manifest: Manifest, address: str) -> None:
    checkpoints = config.run_folder / CHECKPOINTS
    local = find_checkpoint(checkpoints, verify=True)
    store = ObjectStore(address)
    try:
        names = with_retries(store.names, f"listing {address}")
        complete = sorted((name for name, whole in checkpoints_in(names).items() if whole), key=step_in, reverse=True)
        for name in complete:
            if local is not None and step_in(name) <= local.step:
                _check_owner(store, name, address, local)
                break
            try:
                restored = _fetch(config, manifest, address, name)
            except RemoteError as error:
                log.warning("%s of %s cannot be used: %s", name, address, error)
                continue
            _fetch_best(config, manifest, address, restored)
            _fetch_files(store, names, config.run_folder)
            log.info("%s is restored from %s", name, address)
            return
    except RemoteError as error:
        if local is None:
            raise JobError(
                f"cannot read the copy of the run in {address} ({error}): check the address, the network and the "
                "credentials, or start without it (mirror=null)"
            ) from error
        log.warning("cannot read %s (%s): resuming from the run folder", address, error)
        return
    if local is None and complete:
        raise JobError(f"no checkpoint in {address} can be used, see the warnings: delete it, or choose another `name`")


def fetch_where_missing(
    config: Config, manifest: Manifest, accelerator: Accelerator, path: Path, ready: Callable[[], None]
) -> None:
    """Make a checkpoint of the main rank visible on all nodes; all ranks must call this.

    One rank of each node that does not see it downloads it; before that, the main rank calls `ready`, which waits until
    it is in the store. Does nothing without `mirror`. Raises JobError, on every rank, when that fails.
    """
    address = config.mirrored
    if address is None or accelerator.num_processes == 1:
        return
    here = socket.gethostname(), os.path.isfile(path / META)
    places = gather_object([here])
    if all(seen for _, seen in places):
        return
    on_main(accelerator, ready)
    problem = None
    if not here[1] and places.index(here) == accelerator.process_index:
        try:
            _fetch(config, manifest, address, path.name)
        except (JobError, RemoteError, OSError) as error:
            problem = Problem.here(accelerator, f"{path.name} cannot be fetched from {address} ({first_line(error)})")
    raise_first(accelerator, gather_object([problem]))


def _fetch(config: Config, manifest: Manifest, address: str, name: str) -> Checkpoint:
    """Download a checkpoint into the run folder, complete or not at all.

    Raises RemoteError when it is damaged or cannot be read, JobError when it belongs to another run.
    """
    folder = config.run_folder / CHECKPOINTS
    final, temporary = folder / name, folder / f".tmp-{name}-{socket.gethostname()}-{os.getpid()}"
    with writing(folder, _ADVICE):
        temporary.mkdir(parents=True, exist_ok=True)
        try:
            read = partial(ObjectStore(f"{address}/{CHECKPOINTS}/{name}").read, META, LARGEST)
            (temporary / META).write_bytes(with_retries(read, f"reading {META} of {name}"))
            try:
                meta = read_meta(temporary)
            except ValueError as error:
                raise RemoteError(f"{META} is damaged: {first_line(error)}", permanent=True) from None
            _check(config, manifest, Checkpoint(final, meta))
            for file, size in meta["bytes"].items():
                place = f"{address}/{CHECKPOINTS}/{name}/{file}"
                fetch = partial(download, place, temporary / file, size, meta.get("sha256", {}).get(file), _ADVICE)
                with_retries(fetch, f"fetching {place}")
            fsync_folder(temporary)
            if final.exists():  # damaged, or on a file system of several nodes, one of which was faster
                shutil.rmtree(final)
            os.rename(temporary, final)
            fsync_folder(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return Checkpoint(final, meta)


def _fetch_best(config: Config, manifest: Manifest, address: str, restored: Checkpoint) -> None:
    """Download the best checkpoint too. Logs a warning if it cannot be had: the selection then starts again."""
    step = restored.meta["best"]["step"]
    if step in (None, restored.step):
        return
    best = path_of(restored.path.parent, step)
    try:
        read_checkpoint(best).verify()
    except JobError:
        try:
            _fetch(config, manifest, address, best.name)
        except RemoteError as error:
            log.warning("%s, the best checkpoint of %s, cannot be used: %s", best.name, address, error)


def _fetch_files(store: ObjectStore, names: list[str], folder: Path) -> None:
    (folder / EVALUATION).mkdir(exist_ok=True)
    for name in names:
        parent, _, file = name.rpartition("/")
        if name in FILES or (parent == EVALUATION and file.strip(".")):
            write_atomically(folder / name, with_retries(partial(store.read, name, _MOST), f"reading {name}"))


def _check_owner(store: ObjectStore, name: str, address: str, local: Checkpoint) -> None:
    """Raise JobError when an older checkpoint in the store is that of another run, which this one would overwrite."""
    content = with_retries(partial(store.read, f"{CHECKPOINTS}/{name}/{META}", LARGEST), f"reading {META} of {name}")
    with suppress(ValueError, AttributeError):  # damaged
        meta = json.loads(content)
        if any(meta.get(key) != local.meta.get(key) for key in ("fingerprint", "manifest")):
            raise JobError(f"{address} is the copy of another run: choose another `name` or `mirror`")


def _check(config: Config, manifest: Manifest, found: Checkpoint) -> None:
    streams = (found.meta["config"].get("data") or {}).get("streams")
    if config.data.streams is None and isinstance(streams, int):
        config = config.with_streams(streams)  # the run keeps those that it began with
    check_same(config, manifest, found)
