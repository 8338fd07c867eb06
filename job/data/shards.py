"""Make WebDataset shards of a dataset: the `shards` command.

The result depends on the input, the seed and the settings, never on the number of workers or on how often the command
was interrupted. The manifest is written last.
"""

import difflib
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from tqdm import tqdm

from job.data.hashing import mix
from job.data.layouts import find_layout
from job.data.manifest import NAME, Manifest, ShardInfo, load_manifest
from job.data.plan import ShardPlan, digest_records, group_records, plan_shards
from job.data.records import DOMAINS, Layout
from job.data.write_shard import UNFINISHED, write_atomically, write_shard
from job.errors import JobError

_LINE_SECONDS = 5.0  # between two lines of progress where there is no terminal


def write_shards(
    layout_name: str | Layout,
    root: str | Path | None,
    out: str | Path,
    *,
    size: int | None = None,
    shards: int | None = None,
    workers: int | None = None,
    seed: int = 0,
    quality: int = 95,
    keep_target_labels: bool = False,
    options: dict[str, Any] | None = None,
    progress: bool = True,
) -> Manifest:
    """Write the shards of a layout to `out` and return their manifest.

    `size` is the edge of the images in pixels (the layout's own unless given), `shards` the number for each domain's
    training split, `workers` the number of processes (every core unless given), `quality` that of the JPEGs, 1 to 100.
    A folder that already holds exactly this is left as it is; one that was interrupted is continued.

    Raises JobError for a mistake in the arguments, an image that cannot be read, a folder that holds other shards, or
    a disk that is full.
    """
    layout = layout_name if isinstance(layout_name, Layout) else find_layout(layout_name)
    size = layout.size if size is None else size
    options = _check(layout, root, size, shards, workers, quality, options or {})
    out = Path(out)
    records = layout.records(str(root) if root is not None else None, seed, **options)
    plans = plan_shards(group_records(layout, records), seed=seed, shards=shards, keep_target_labels=keep_target_labels)
    settings = {
        "layout": layout.name,
        "size": size,
        "class_names": tuple(layout.class_names),
        "seed": seed,
        "quality": quality,
        "keep_target_labels": keep_target_labels,
        "options": options,
        "inputs": digest_records(records),
    }
    if (out / NAME).exists():
        return _finished(out, settings, plans, progress)

    fingerprint = f"{mix(repr(sorted(settings.items())), *(plan.path for plan in plans)):016x}"
    _make_folders(out, plans)
    infos = _write_all(layout, plans, out, size, quality, fingerprint, workers or _cores(), progress)
    domains = {domain: {} for domain in DOMAINS}
    for plan in plans:
        domains[plan.domain].setdefault(plan.split, []).append(infos[plan.path])
    manifest = Manifest(**settings, domains={domain: splits for domain, splits in domains.items() if splits})
    _remove_strays(out, plans)
    write_atomically(out / NAME, manifest.model_dump_json(indent=1) + "\n")
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)
    return manifest


def _check(layout, root, size, shards, workers, quality, options) -> dict[str, Any]:
    """The layout's options with the user's in place. Raises JobError for whatever cannot be meant."""
    if layout.needs_root and (root is None or not Path(root).is_dir()):
        raise JobError(f"layout {layout.name} reads files, and --root {root} is not a folder: give the dataset's")
    for name, value, low, high in (
        ("--size", size, 8, 1024),
        ("--shards", shards, 1, 999_999),
        ("--workers", workers, 1, 1024),
        ("--quality", quality, 1, 100),
    ):
        if value is not None and not low <= value <= high:
            raise JobError(f"{name} {value} must be between {low} and {high}")
    for name in options:
        if name not in layout.options:
            near = difflib.get_close_matches(name, layout.options, n=1)
            known = f"did you mean {near[0]}?" if near else f"it has {', '.join(layout.options) or 'none'}"
            raise JobError(f"layout {layout.name} has no option {name!r}: {known}")
        default = layout.options[name]
        if isinstance(default, int) and (type(options[name]) is not int or options[name] < 1):
            raise JobError(f"--option {name}={options[name]}: wants a whole number from 1 up, such as {default}")
    return {**layout.options, **options}


def _finished(out: Path, settings: dict[str, Any], plans: list[ShardPlan], progress: bool) -> Manifest:
    """The manifest of a finished folder. Raises JobError when it holds other shards than those asked for."""
    manifest = load_manifest(out)
    for name, wanted in settings.items():
        held = getattr(manifest, name)
        if held != wanted:
            detail = f"{name} is {held!r} there, {wanted!r} here" if name != "inputs" else "they come from other images"
            raise JobError(f"{out} already holds other shards ({detail}): choose another --out, or delete that folder")
    held = {shard.path for splits in manifest.domains.values() for infos in splits.values() for shard in infos}
    if held != {plan.path for plan in plans}:
        raise JobError(
            f"{out} already holds other shards (another number of them): choose another --out, or delete that folder"
        )
    if progress:
        print(f"{out} is already complete: {len(held)} shards", file=sys.stderr)
    return manifest


def _make_folders(out: Path, plans: list[ShardPlan]) -> None:
    try:
        for folder in {out / UNFINISHED, *((out / plan.path).parent for plan in plans)}:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(f"cannot make {error.filename} ({error.strerror}): choose another --out") from None


def _write_all(layout, plans, out, size, quality, fingerprint, workers, progress) -> dict[str, ShardInfo]:
    """Every shard's ShardInfo by path, written by as many processes."""
    jobs = [(layout, plan, out, size, quality, fingerprint) for plan in plans]
    workers = min(workers, len(jobs))
    if workers == 1:
        return _follow((write_shard(*job) for job in jobs), plans, progress)
    # spawn: a forked copy of a process in which torch or OpenCV has threads may hang
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        futures = [pool.submit(write_shard, *job) for job in jobs]
        return _follow((future.result() for future in as_completed(futures)), plans, progress)
    except BrokenProcessPool:
        raise JobError(
            f"a worker was killed, for want of memory perhaps: run the same command again with fewer than "
            f"--workers {workers}; finished shards are kept"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    import cv2

    cv2.setNumThreads(1)  # one process a core already


def _follow(finished: Iterator[ShardInfo], plans: list[ShardPlan], progress: bool) -> dict[str, ShardInfo]:
    """Collect shards as they finish: a bar on a terminal, a line now and then elsewhere, and the rate at the end."""
    total = sum(len(plan.records) for plan in plans)
    infos: dict[str, ShardInfo] = {}
    begun = said = time.monotonic()
    with tqdm(total=total, unit="image", disable=not (progress and sys.stderr.isatty())) as bar:
        for info in finished:
            infos[info.path] = info
            bar.update(info.samples)
            now = time.monotonic()
            if progress and bar.disable and now - said >= _LINE_SECONDS:
                said = now
                _say(infos.values(), total, now - begun)
    if progress:
        _say(infos.values(), total, time.monotonic() - begun)
    return infos


def _say(infos: Iterable[ShardInfo], total: int, seconds: float) -> None:
    images = sum(info.samples for info in infos)
    print(f"{images} of {total} images, {images / max(seconds, 1e-9):.0f} images/s", file=sys.stderr, flush=True)


def _remove_strays(out: Path, plans: list[ShardPlan]) -> None:
    """Delete what interrupted runs with other settings have left among the shards."""
    named = {out / plan.path for plan in plans}
    for folder in {path.parent for path in named}:
        for path in folder.iterdir():
            if path not in named and (path.suffix == ".partial" or path.name.startswith(f"{folder.parent.name}-")):
                path.unlink()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
