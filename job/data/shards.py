"""Make WebDataset shards of a dataset: the `shards` command.

The result depends on the input, the seed and the settings, never on the number of workers or on how often the command
was interrupted. The manifest is written last.
"""

import difflib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from job.data.budget import Budget
from job.data.crop import CROPS, check_detector
from job.data.gather import Gathered, gather, no_collecting
from job.data.hashing import mix
from job.data.layouts import find_layout
from job.data.manifest import NAME, Manifest, ShardInfo, load_manifest
from job.data.plan import ShardPlan, digest_records, group_records, plan_shards
from job.data.pool import Pool, cores, follow
from job.data.records import DOMAINS, Layout
from job.data.report import tell, write_lists
from job.data.write_shard import UNFINISHED, Written, write_atomically, write_shard
from job.errors import JobError


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
    crop: str = "center",
    no_face: str = "keep",
    strict: bool = False,
    max_skipped: str = "1%",
    options: dict[str, Any] | None = None,
    progress: bool = True,
) -> Manifest:
    """Write the shards of a layout to `out` and return their manifest.

    `size` is the edge of the images in pixels (the layout's own unless given), `shards` the number for each domain's
    training split, `workers` the number of processes (every core unless given), `quality` that of the JPEGs, 1 to 100.
    Of pictures, `crop` takes all ("none"), the central square, or the face; `no_face` says whether those without one
    are kept, cropped to the centre, or dropped. `strict` refuses images that show none of the seven emotions, which are
    left out otherwise; `max_skipped` is how many may turn out to be unreadable, "1%" or a number. A folder that already
    holds exactly this is left as it is; one that was interrupted is continued.

    Raises JobError for a mistake in the arguments, a data set that cannot be used, too many unreadable images, a folder
    that holds other shards, or a disk that is full.
    """
    layout = layout_name if isinstance(layout_name, Layout) else find_layout(layout_name)
    size = layout.size if size is None else size
    options = _check(layout, root, size, shards, workers, quality, crop, no_face, options or {})
    out = Path(out)
    budget = Budget(max_skipped, out)
    held = load_manifest(out) if (out / NAME).exists() else None
    _make_folder(out / UNFINISHED if held is None else out)
    scratch = out / UNFINISHED if held is None else None
    with Pool(workers or cores()) as pool:
        gathered = _records(layout, root, seed, options, crop, no_face, strict, budget, pool, scratch, progress)
        records = gathered.records
        groups = group_records(layout, records)
        plans = plan_shards(groups, seed=seed, shards=shards, keep_target_labels=keep_target_labels)
        settings = {
            "layout": layout.name,
            "size": size,
            "class_names": tuple(layout.class_names),
            "seed": seed,
            "quality": quality,
            "keep_target_labels": keep_target_labels,
            "crop": crop,
            "no_face": no_face,
            "options": options,
            "inputs": digest_records(records),
        }
        if held is not None:
            return _finished(out, held, settings, plans, progress)
        fingerprint = f"{mix(repr(sorted(settings.items())), *(plan.path for plan in plans)):016x}"
        for folder in {(out / plan.path).parent for plan in plans}:
            _make_folder(folder)
        tasks = [(layout, plan, out, size, quality, crop, fingerprint) for plan in plans]
        written = _write_all(tasks, len(records), budget, pool, progress)

    infos = {w.shard.path: w.shard for w in written if w.shard is not None}
    domains = {domain: {} for domain in DOMAINS}
    for plan in plans:
        if plan.path in infos:
            domains[plan.domain].setdefault(plan.split, []).append(infos[plan.path])
    left_out = dict(gathered.left_out)
    if budget.skipped:
        left_out["unreadable"] = len(budget.skipped)
    manifest = Manifest(**settings, left_out=left_out, domains={d: splits for d, splits in domains.items() if splits})
    _remove_strays(out, plans, infos)
    if layout.find is not None:
        write_lists(out, gathered, budget, crop)
        if progress:
            tell(out, gathered, budget)
    write_atomically(out / NAME, manifest.model_dump_json(indent=1) + "\n")
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)
    return manifest


def _records(layout, root, seed, options, crop, no_face, strict, budget, pool, scratch, progress) -> Gathered:
    """The records of any layout. Of a finished folder (`scratch` None) only to compare them with what it holds."""
    root = None if root is None else str(root)
    if layout.find is None:
        return Gathered(layout.records(root, seed, **options), {}, [])
    with tempfile.TemporaryDirectory() as elsewhere, no_collecting():
        return gather(
            layout,
            root,
            options,
            seed=seed,
            strict=strict,
            crop=crop,
            keep_faceless=no_face == "keep",
            budget=budget,
            pool=pool,
            scratch=scratch or Path(elsewhere),
            progress=progress,
        )


def _write_all(tasks: list[tuple], images: int, budget: Budget, pool: Pool, progress: bool) -> list[Written]:
    """Every shard, in any order. Raises JobError as soon as too many images have been skipped."""

    def finished():
        for written in pool.run(write_shard, tasks):
            budget.add(written.skipped)
            yield written

    return follow(finished(), images, lambda written: written.planned, "writing", progress)


def _check(layout, root, size, shards, workers, quality, crop, no_face, options) -> dict[str, Any]:
    """The layout's options with the user's in place. Raises JobError for whatever cannot be meant."""
    if layout.needs_root and (root is None or not Path(root).is_dir()):
        given = f"--root {root} is not a folder" if root else "there is no --root"
        raise JobError(f"layout {layout.name} reads files, and {given}: give the dataset's folder")
    for name, value, low, high in (
        ("--size", size, 8, 1024),
        ("--shards", shards, 1, 999_999),
        ("--workers", workers, 1, 1024),
        ("--quality", quality, 1, 100),
    ):
        if value is not None and not low <= value <= high:
            raise JobError(f"{name} {value} must be between {low} and {high}")
    for name, value, known in (("--crop", crop, CROPS), ("--no-face", no_face, ("keep", "drop"))):
        if value not in known:
            raise JobError(f"{name} {value} is none of {', '.join(known)}")
    if crop == "face":
        if layout.find is None:
            raise JobError(f"--crop face looks for faces in photos, and layout {layout.name} has none: leave it out")
        check_detector()
    for name in options:
        if name not in layout.options:
            near = difflib.get_close_matches(name, layout.options, n=1)
            known = f"did you mean {near[0]}?" if near else f"it has {', '.join(layout.options) or 'none'}"
            raise JobError(f"layout {layout.name} has no option {name!r}: {known}")
        _check_option(name, options[name], layout.options[name])
    merged = {**layout.options, **options}
    if layout.find is not None and merged["val"] + merged["test"] >= 1:
        raise JobError(f"--option val={merged['val']} and test={merged['test']} leave nothing to train on")
    return merged


def _check_option(name: str, value: Any, default: Any) -> None:
    """Raise JobError unless the value is of the kind of the option's default."""
    if isinstance(default, bool):
        right, wants = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        right, wants = type(value) is int and value >= 1, f"a whole number from 1 up, such as {default}"
    elif isinstance(default, float):
        right, wants = type(value) is float and 0 < value < 1, f"a share between 0 and 1, such as {default}"
    elif isinstance(default, str):
        right, wants = isinstance(value, str), f"a name, such as {default}"
    else:
        return
    if not right:
        raise JobError(f"--option {name}={value}: wants {wants}")


def _finished(
    out: Path, manifest: Manifest, settings: dict[str, Any], plans: list[ShardPlan], progress: bool
) -> Manifest:
    """The manifest of a finished folder. Raises JobError when it holds other shards than those asked for."""
    for name, wanted in settings.items():
        held = getattr(manifest, name)
        if held != wanted:
            detail = f"{name} is {held!r} there, {wanted!r} here" if name != "inputs" else "they come from other images"
            raise JobError(f"{out} already holds other shards ({detail}): choose another --out, or delete that folder")
    held = {shard.path for splits in manifest.domains.values() for infos in splits.values() for shard in infos}
    planned = {plan.path for plan in plans}
    # a shard whose images could all not be read is not there
    if held - planned or len(planned - held) > manifest.left_out.get("unreadable", 0):
        raise JobError(
            f"{out} already holds other shards (another number of them): choose another --out, or delete that folder"
        )
    if progress:
        print(f"{out} is already complete: {len(held)} shards", file=sys.stderr)
    return manifest


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(f"cannot make {error.filename} ({error.strerror}): choose another --out") from None


def _remove_strays(out: Path, plans: list[ShardPlan], infos: dict[str, ShardInfo]) -> None:
    """Delete what interrupted runs with other settings have left among the shards."""
    named = {out / path for path in infos}
    for folder in {(out / plan.path).parent for plan in plans}:
        for path in folder.iterdir():
            if path not in named and (path.suffix == ".partial" or path.name.startswith(f"{folder.parent.name}-")):
                path.unlink()
