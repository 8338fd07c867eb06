"""Read and write the pointers ``latest`` and ``best``: names in a folder of checkpoints that refer to one of them.

A pointer is a symbolic link where the file system supports links; elsewhere (CIFS, VirtualBox, FAT, some FUSE mounts)
it is a small text file with the checkpoint's name. A copy that follows links (``cp -rL``) makes a folder of the link.
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
    """Return the path of the checkpoint of a step, whether it exists or not."""
    return folder / f"step_{step:08d}"


def step_in(name: str) -> int:
    """Return the step in the name of a checkpoint; -1 for a name without one."""
    return int(name.partition("_")[2] or -1)


def is_checkpoint_name(name: str) -> bool:
    """Return whether a name is that of a finished checkpoint, not of a temporary folder or a pointer."""
    return _CHECKPOINT.fullmatch(name) is not None


def checkpoint_paths(folder: Path) -> list[Path]:
    """Return the paths of the finished checkpoints in a folder, the oldest first."""
    return sorted((p for p in folder.glob("step_*") if is_checkpoint_name(p.name)), key=lambda p: step_in(p.name))


def point(folder: Path, name: str, target: Path) -> None:
    """Make the pointer `name` in `folder` refer to the checkpoint `target`, atomically. Raises OSError."""
    pointer = folder / name
    if pointer.is_dir() and not pointer.is_symlink():  # a copied link: a file cannot replace a folder
        shutil.rmtree(pointer)
    link = folder / f".tmp-{name}-{os.getpid()}"
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(target.name)
    except OSError:  # EPERM, EOPNOTSUPP, EROFS, ...: file systems without links raise different errors
        write_atomically(pointer, f"{target.name}\n", durable=True)
        return
    os.replace(link, pointer)
    fsync_folder(folder)


def follow(path: Path) -> Path:
    """Return the checkpoint folder that `path` refers to: `path` itself unless it is a pointer.

    Raises JobError for a file that does not contain the name of a checkpoint.
    """
    if path.is_symlink() or not os.path.isfile(path):
        return Path(os.path.realpath(path))
    try:
        name = read_regular(path, most=200).decode().strip()
    except (OSError, ValueError):
        name = ""
    if path.name not in (LATEST, BEST) or not is_checkpoint_name(name):
        raise JobError(f"{path} is not a checkpoint: give a folder such as runs/NAME/checkpoints/best")
    return Path(os.path.realpath(path.parent / name))


def points_at(folder: Path, name: str) -> Path | None:
    """Return the checkpoint that the pointer `name` in `folder` refers to; None if it is missing or a copied folder."""
    pointer = folder / name
    if not pointer.is_symlink() and not pointer.is_file():
        return None
    try:
        return follow(pointer)
    except JobError:
        return None


def adopt_copies(folder: Path, step_of: dict[str, int]) -> None:
    """Replace folders that were copied from links by pointers. `step_of` maps ``latest``, ``best`` to the copy's step.

    A copy whose checkpoint is missing is renamed to that checkpoint, so that nothing is lost. Raises OSError.
    """
    for name, step in step_of.items():
        original = path_of(folder, step)
        if not original.exists():
            os.rename(folder / name, original)
        point(folder, name, original)
