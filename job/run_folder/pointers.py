"""``latest`` and ``best``: names in a folder of checkpoints that stand for one of them.

A symbolic link where the file system has them; elsewhere (CIFS, VirtualBox, FAT, some FUSE mounts) a small text file
that holds the checkpoint's name. A copy that follows links (``cp -rL``) leaves a folder in place of the link.
"""

import os
import re
import shutil
from pathlib import Path

from job.system.errors import JobError
from job.system.files import fsync_folder, read_regular, write_atomically

LATEST, BEST = "latest", "best"
_CHECKPOINT = re.compile(r"step_(\d{8,})")


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is, or would be."""
    return folder / f"step_{step:08d}"


def is_checkpoint_name(name: str) -> bool:
    """Whether a folder of this name is a finished checkpoint, not a temporary folder or a pointer."""
    return _CHECKPOINT.fullmatch(name) is not None


def point(folder: Path, name: str, target: Path) -> None:
    """Let `name` in `folder` stand for the checkpoint `target`, atomically. Raises OSError."""
    pointer = folder / name
    if pointer.is_dir() and not pointer.is_symlink():  # a copied link: a file cannot replace a folder
        shutil.rmtree(pointer)
    link = folder / f".tmp-{name}-{os.getpid()}"
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(target.name)
    except OSError:  # EPERM, EOPNOTSUPP, EROFS, ...: each file system says it in its own way
        write_atomically(pointer, f"{target.name}\n", durable=True)
        return
    os.replace(link, pointer)
    fsync_folder(folder)


def follow(path: Path) -> Path:
    """The checkpoint folder that `path` stands for: itself unless it is a pointer.

    Raises JobError for a file that does not hold the name of a checkpoint.
    """
    if path.is_symlink() or not os.path.isfile(path):
        return Path(os.path.realpath(path))
    try:
        name = read_regular(path, most=200).decode().strip()
    except (OSError, ValueError):
        name = ""
    if path.name not in (LATEST, BEST) or not is_checkpoint_name(name):
        raise JobError(f"{path} is no checkpoint: give a folder such as runs/NAME/checkpoints/best")
    return Path(os.path.realpath(path.parent / name))


def points_at(folder: Path, name: str) -> Path | None:
    """The checkpoint that `name` in `folder` stands for; None where there is none, or a copy in place of a link."""
    pointer = folder / name
    if not pointer.is_symlink() and not pointer.is_file():
        return None
    try:
        return follow(pointer)
    except JobError:
        return None


def adopt_copies(folder: Path, step_of: dict[str, int]) -> None:
    """Turn copies in place of links into pointers again. `step_of` maps ``latest``, ``best`` to the copy's step.

    A copy whose checkpoint is missing takes its place; nothing is lost. Raises OSError.
    """
    for name, step in step_of.items():
        original = path_of(folder, step)
        if not original.exists():
            os.rename(folder / name, original)
        point(folder, name, original)
