"""Use a checkpoint of a run's copy in an object store (`mirror`), to predict or to evaluate.

Only meta.json and the weights are fetched: JSON and tensors, never a pickle, and nothing to resume a run from.
"""

import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from job.run_folder.checkpoint import Checkpoint, read_checkpoint
from job.run_folder.checkpoint_meta import LARGEST, META, WEIGHTS, read_meta
from job.run_folder.pointers import BEST, LATEST, is_checkpoint_name
from job.run_folder.shared import is_reference
from job.shards.remote import read_remote
from job.system.errors import JobError, first_line
from job.system.files import fsync_file, writing
from job.system.object_store import LIBRARIES, NotThere, ObjectStore
from job.system.transfer import RemoteError, with_retries

_ADDRESS = re.compile(rf"({'|'.join(LIBRARIES)}):/{{1,2}}(?=[^/])")  # a Path has lost a slash
_EXAMPLE = "give one such as s3://BUCKET/FOLDER/NAME/checkpoints/best"
_LONGEST_POINTER = 200  # bytes
_ROOM = "make room there, or set TMPDIR to another folder"


def address_of(path: str | Path) -> str | None:
    """Return the address of a checkpoint in an object store; None for a folder and for a model on the hub."""
    match = _ADDRESS.match(str(path))
    if match is None or is_reference(path):
        return None
    return f"{match[1]}://{str(path)[match.end() :].rstrip('/')}"


@contextmanager
def opened(path: str | Path) -> Iterator[Checkpoint]:
    """Yield a checkpoint: that of a folder, or one of an object store, which is fetched and deleted at the end.

    Raises JobError when it is not complete or cannot be fetched.
    """
    address = address_of(path)
    if address is None:
        yield read_checkpoint(Path(path))
        return
    with temporary_folder() as folder:
        yield fetch(resolve(address), folder)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new folder for a checkpoint, which is deleted at the end. Raises JobError when it cannot be made."""
    with writing(tempfile.gettempdir(), _ROOM):
        folder = tempfile.TemporaryDirectory(prefix="checkpoint-", ignore_cleanup_errors=True)
    with folder as name:
        yield Path(name)


def resolve(address: str) -> str:
    """Return the address of the checkpoint that `latest` or `best` points to; any other address as it is.

    Raises JobError when it names no checkpoint.
    """
    folder, _, name = address.rpartition("/")
    content = read_object(address, "", _LONGEST_POINTER) if name in (LATEST, BEST) else None
    if content is not None:
        target = content.decode(errors="replace").strip()
        if not is_checkpoint_name(target):
            raise JobError(f"{address} does not name a checkpoint: {_EXAMPLE}")
        return f"{folder}/{target}"
    return address  # in a copy of a run folder that followed links, `best` is a folder


def fetch(address: str, folder: Path) -> Checkpoint:
    """Download meta.json and the weights of a checkpoint to a folder.

    Raises JobError when there is no complete checkpoint, it is damaged, or the store cannot be read.
    """
    content = read_object(address, META, LARGEST)
    if content is None:
        raise _no_checkpoint(address)
    with writing(folder, _ROOM):
        (folder / META).write_bytes(content)
        try:
            checkpoint = Checkpoint(folder, read_meta(folder))
        except ValueError as error:
            raise JobError(f"{address} is not a complete checkpoint ({first_line(error)}): use another one") from None
        place, meta = f"{address}/{WEIGHTS}", checkpoint.meta
        size, sha256 = meta["bytes"][WEIGHTS], meta.get("sha256", {}).get(WEIGHTS)
        load = partial(download, place, folder / WEIGHTS, size, sha256, _ROOM)
        with _reading(address):
            with_retries(load, f"fetching {place}")
    return checkpoint


def download(url: str, path: Path, size: int, sha256: str | None, advice: str) -> None:
    """Download a file of a checkpoint, whose size and checksum its meta.json has.

    Raises RemoteError when the transfer fails or other bytes come, and JobError, with the advice, on a full disk.
    """
    digest, came = hashlib.sha256(), 0
    with open(path, "wb") as file:
        for chunk in read_remote(url, size):
            digest.update(chunk)
            came += len(chunk)
            with writing(path, advice):
                file.write(chunk)
        fsync_file(file)
    if came != size or sha256 not in (None, digest.hexdigest()):
        raise RemoteError(f"{came} bytes came, whose sha256 is not that of {META}; {size} bytes expected")


def read_object(address: str, name: str, most: int) -> bytes | None:
    """Return a small object below an address, None if it does not exist. Raises JobError when that cannot be read."""
    store = ObjectStore(address)

    def read() -> bytes | None:
        with suppress(NotThere):
            return store.read(name, most)
        return None

    with _reading(address):
        return with_retries(read, f"reading {address}")


@contextmanager
def _reading(address: str) -> Iterator[None]:
    try:
        yield
    except RemoteError as error:
        raise JobError(f"cannot read {address} ({error}): check the address, the network and the credentials") from None


def _no_checkpoint(address: str) -> JobError:
    """Return the error for an address without a checkpoint, which names one that exists."""
    folder, _, name = address.rpartition("/")

    def has(pointer: str) -> bool:
        return read_object(pointer, "", _LONGEST_POINTER) is not None

    if name == BEST and has(f"{folder}/{LATEST}"):
        return JobError(f"no checkpoint at {address}: the run has not been evaluated yet; {folder}/{LATEST} exists")
    for below in ("checkpoints/", ""):
        if has(f"{address}/{below}{LATEST}"):
            return JobError(f"{address} is not a checkpoint: give one, for instance {address}/{below}{BEST}")
    return JobError(f"no complete checkpoint at {address}: {_EXAMPLE}")
