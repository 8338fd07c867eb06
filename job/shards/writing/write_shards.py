"""Write WebDataset shards of a data set: the `shards` command.

The result depends on the input, the seed and the settings only: not on the number of workers, not on interruptions. The
manifest is written last.
"""

import os
import shutil
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from job.datasets import find_layout
from job.datasets.layout import Layout
from job.datasets.options import complete_options
from job.datasets.pair import folders_of
from job.shards.manifest import NAME, Manifest, load_manifest
from job.shards.writing.convert import convert, digests
from job.shards.writing.crop import CROPS, CropSettings, crop_settings
from job.shards.writing.face_model import CASCADE
from job.shards.writing.folds import in_folds
from job.shards.writing.left_out import COPIES, NO_FACE, SKIPPED, Budget, report, write_beside, write_lists
from job.shards.writing.photo import SCALING
from job.shards.writing.select_images import RecordSet, digest_images, find_images, make_records, unusable_images
from job.shards.writing.selection_report import describe, subjects_unknown, unlabelled
from job.shards.writing.shard_plan import (
    ShardPlan,
    digest_records,
    group_records,
    limited_ranks,
    plan_shards,
    shard_count,
)
from job.shards.writing.unfinished import UNFINISHED, exclusive_access, remove_created_when_refused
from job.shards.writing.write_shard import write_shard
from job.system.echo import echo
from job.system.errors import JobError
from job.system.files import make_folder, remove_partials
from job.system.garbage_pause import pause_garbage_collection
from job.system.processes import Pool, cores
from job.system.progress import follow
from job.system.random_numbers import mix
from job.system.text import shortened
from job.vocabulary import DOMAINS

_MODULES_OF_WORK = ("job.shards.writing.write_shard", "job.shards.writing.convert")  # imported by worker processes


@pause_garbage_collection()
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
    face_model: str = CASCADE,
    no_face: str = "keep",
    gray: bool = False,
    scaled_jpeg: bool = False,
    strict: bool = False,
    max_skipped: str = "1%",
    options: dict[str, Any] | None = None,
    progress: bool = True,
) -> Manifest:
    """Write the shards of a layout to `out` and return their manifest.

    `size` is the edge of the images in pixels (default: the layout's), `shards` the number of shards of each domain's
    training split, `workers` the number of processes (default: all cores), `quality` the JPEG quality, 1 to 100. `crop`
    takes the whole image ("none"), the central square ("center"), or the face; `face_model` is what finds it:
    "cascade", or, to align faces by their landmarks, "yunet" or the path of its ONNX file; `no_face` is whether images
    without a face are kept ("keep"), cropped to the centre, or dropped ("drop"). `gray` stores images without
    colour; `scaled_jpeg` decodes large JPEGs at a reduced size (`photo.py`). `strict` refuses images of classes that
    would be dropped otherwise; `max_skipped` is how many images may be unreadable, a share such as "1%" or a number. A
    folder with exactly these shards is not changed; an interrupted one is resumed.

    Raises JobError for invalid arguments, an unusable data set, too many unreadable images, a folder with other shards,
    a folder that another command is writing, or a full disk. This function starts processes: the main module of a
    program that calls it needs `if __name__ == "__main__":`.
    """
    layout = layout_name if isinstance(layout_name, Layout) else find_layout(layout_name)
    size = layout.size if size is None else size
    root, out = None if root is None else str(root), Path(out)
    options = _check(layout, root, out, size, shards, workers, seed, quality, crop, face_model, no_face, options or {})
    budget = Budget(max_skipped, out)
    cropping = crop_settings(crop, face_model)._replace(scaling=SCALING if scaled_jpeg else 0)
    settings = {
        "layout": layout.name,
        "size": size,
        "class_names": tuple(layout.class_names),
        "seed": seed,
        "quality": quality,
        "keep_target_labels": keep_target_labels,
        "crop": crop,
        "alignment": cropping.alignment,
        "no_face": no_face,
        "gray": gray,
        "jpeg_scaling": cropping.scaling,
        "options": options,
    }
    manifest, processes = None, workers or cores()
    if not (out / NAME).exists():
        with exclusive_access(out) as created, Pool(processes, _MODULES_OF_WORK) as pool:
            if not (out / NAME).exists():  # another command may just have finished it
                refusals = partial(remove_created_when_refused, out, created)
                manifest = _write(
                    layout, root, out, settings, cropping, shards, strict, budget, pool, progress, refusals
                )
    if manifest is None:
        with Pool(processes, _MODULES_OF_WORK) as pool:
            manifest = _finished(layout, root, out, settings, shards, strict, pool, progress)
    for line in limited_ranks(manifest) if progress else ():
        echo(f"warning: {line}", err=True)
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)
    for name in (NAME, SKIPPED, COPIES, NO_FACE):
        remove_partials(out / name)  # of a run that was killed while writing one
    return manifest


def _write(layout, root, out, settings, cropping, shards, strict, budget, pool, progress, refusals) -> Manifest:
    record_set, settings["inputs"] = _collect_records(
        layout, root, out, settings, cropping, strict, budget, pool, progress, refusals
    )
    layout = replace(layout, class_names=record_set.class_names)
    settings["class_names"] = record_set.class_names
    size, quality, crop, gray, seed = (settings[name] for name in ("size", "quality", "crop", "gray", "seed"))
    with refusals():
        folds, kept = settings["options"].get("folds"), settings["keep_target_labels"]
        groups = group_records(layout, record_set.records, folds)
        plans = plan_shards(groups, seed=seed, shards=shards, keep_target_labels=kept, folds=folds)
    fingerprint = f"{mix(repr(sorted(settings.items())), *(plan.path for plan in plans)):016x}"
    for folder in {(out / plan.path).parent for plan in plans}:
        make_folder("--out", folder)
    tasks = [(layout, plan, out, size, quality, crop, gray, fingerprint) for plan in plans]
    written = pool.run(write_shard, tasks)
    infos = list(follow(written, len(record_set.records), lambda info: info.samples, "writing", progress))

    by_path = {info.path: info for info in infos}
    domains = {domain: {} for domain in DOMAINS}
    for plan in plans:
        domains[plan.domain].setdefault(plan.split, []).append(by_path[plan.path])
    left_out = dict(record_set.left_out)
    if budget.skipped:
        left_out["unreadable"] = len(budget.skipped)
    manifest = Manifest(
        **settings,
        left_out=left_out,
        unlabelled=unlabelled(record_set.records),
        subjects_unknown=subjects_unknown(record_set.records),
        domains={d: splits for d, splits in domains.items() if splits},
    )
    _remove_strays(out, plans)
    if layout.find is not None:
        write_lists(out, record_set, budget, crop)
        if progress:
            for line in describe(record_set, settings):
                echo(line, err=True)
            report(out, record_set, budget)
    write_beside(out / NAME, manifest.model_dump_json(indent=1) + "\n")
    return manifest


def _collect_records(
    layout, root, out, settings, cropping: CropSettings, strict, budget, pool, progress, refusals
) -> tuple[RecordSet, str]:
    """Return the records of any layout, converting images on disk first, and a digest of their input.

    When too many images are unreadable, converted images are kept for the next run.
    """
    options, seed = settings["options"], settings["seed"]
    with refusals():
        if layout.find is None:
            records = layout.records(root, seed, **options)
            inputs = digest_records(records)
            if folds := options.get("folds"):
                records = in_folds(records, folds, seed=seed, name=layout.name)
            return RecordSet(records, tuple(layout.class_names)), inputs
        selection = find_images(layout, root, options, strict)
    images = selection.images
    locations = [image.entry.location for image in images]
    form = (settings["size"], settings["quality"], cropping, settings["gray"])
    converted = convert(locations, *form, pool, out / UNFINISHED, progress)
    skipped = selection.notes.skipped
    kept = any(result.jpeg for result in converted)
    with nullcontext() if kept else refusals():
        budget.spend(len(images) + len(skipped), [*skipped, *unusable_images(images, converted)])
    with refusals():
        record_set = make_records(layout, settings, selection, converted)
    return record_set, digest_images(images, [result.digest for result in converted])


def _check(
    layout, root, out, size, shards, workers, seed, quality, crop, face_model, no_face, options
) -> dict[str, Any]:
    """Check all arguments and return the complete options of the layout. Raises JobError for invalid arguments."""
    if layout.needs_root and (root is None or not os.path.isdir(root)):
        problem = f"--root {root} is not a folder" if root else "there is no --root"
        raise JobError(f"layout {layout.name} reads files, and {problem}: give the dataset's folder")
    _check_name(out)
    if root is not None and out.exists() and os.path.exists(root) and out.samefile(root):
        raise JobError(f"--out {out} is the dataset's own folder: choose another")
    for name, value, low, high in (
        ("--size", size, 8, 1024),
        ("--shards", shards, 1, 999_999),
        ("--workers", workers, 1, 1024),
        ("--quality", quality, 1, 100),
        ("--seed", seed, 0, 2**31 - 1),
    ):
        if value is not None and not low <= value <= high:
            raise JobError(f"{name} {value} must be between {low} and {high}")
    for name, value, known in (("--crop", crop, CROPS), ("--no-face", no_face, ("keep", "drop"))):
        if value not in known:
            raise JobError(f"{name} {value} must be one of {', '.join(known)}")
    if no_face == "drop" and crop != "face":
        raise JobError(f"--no-face drop requires --crop face, and --crop is {crop}: set --crop face")
    if face_model != CASCADE and crop != "face":
        raise JobError(f"--face-model {face_model} requires --crop face, and --crop is {crop}: set --crop face")
    if crop == "face" and layout.find is None:
        raise JobError(f"--crop face needs photos, and layout {layout.name} has none: remove --crop face")
    complete = complete_options(layout, options)
    if layout.find is not None:
        _check_apart(out, {"--root": root} if layout.needs_root else folders_of(complete))
    return complete


def _check_name(out: Path) -> None:
    """Raise JobError for a path that no file system accepts."""
    try:
        os.path.realpath(out)
        os.lstat(out)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # ValueError: NUL
        reason = getattr(error, "strerror", None) or error
        raise JobError(f"--out: cannot make {shortened(str(out))} ({reason}): choose another") from None


def _check_apart(out: Path, folders: dict[str, str]) -> None:
    """Raise JobError when `out` is inside a folder of the data set: a second run would find the shards as images."""
    for option, folder in folders.items():
        if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(folder)):
            raise JobError(
                f"--out {out} lies inside {option} {folder}, so the shards would be read as images: choose another"
            )


def _finished(layout, root, out, settings, shards, strict, pool, progress) -> Manifest:
    """Return the manifest of a finished folder. Raises JobError when its shards differ from the requested ones."""
    manifest = load_manifest(out)

    def refuse(detail: str) -> None:
        raise JobError(f"{out} already contains other shards ({detail}): choose another --out, or delete that folder")

    there, here = vars(manifest) | manifest.options, settings | settings["options"]
    del here["options"]
    if layout.find is not None:
        del here["class_names"]  # the options and the images determine them
    for name in {**here, **manifest.options}:
        if there.get(name) != here.get(name):
            refuse(f"{name} is {there.get(name)!r} there, {here.get(name)!r} here")
    for domain, splits in manifest.domains.items():
        for split, infos in splits.items():
            folds = settings["options"].get("folds")
            if len(infos) != shard_count(split, manifest.samples(domain, split), shards, folds):
                refuse("another number of shards")
    if layout.find is None:
        inputs = digest_records(layout.records(root, settings["seed"], **settings["options"]))
    else:
        images = find_images(layout, root, settings["options"], strict).images
        inputs = digest_images(images, digests([image.entry.location for image in images], pool, progress))
    if inputs != manifest.inputs:
        refuse("made from other images")
    if progress:
        echo(f"{out} is already complete", err=True)
    return manifest


def _remove_strays(out: Path, plans: list[ShardPlan]) -> None:
    """Delete files that interrupted runs with other settings left among the shards."""
    named = {out / plan.path for plan in plans}
    for folder in {(out / plan.path).parent for plan in plans}:
        for path in folder.iterdir():
            if path not in named and (path.suffix == ".partial" or path.name.startswith(f"{folder.parent.name}-")):
                path.unlink()
