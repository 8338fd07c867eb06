"""From a data set on disk to records: domains and emotions by name, a look at every file, splits."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from job.data.assign import Item, assign_splits, repeats_of_held_out
from job.data.budget import Budget
from job.data.emotions import label_of
from job.data.found import Found, Notes, same_domain
from job.data.image_file import read
from job.data.pool import Pool, follow
from job.data.records import EMOTIONS, SOURCE, TARGET, Layout, Record
from job.data.survey import CHUNK, Fact, survey_chunk
from job.errors import JobError

# What every layout of files lets the user set, with the defaults.
OPTIONS = {"source": "male", "target": "female", "val": 0.1, "test": 0.15, "subjects": True}


@dataclass
class Gathered:
    """The records, and what the user should be told of the rest."""

    records: list[Record]
    left_out: dict[str, int]
    skipped: list[tuple[str, str]]
    no_face: list[str] = field(default_factory=list)
    copies: list[list[Record]] = field(default_factory=list)  # groups of records with equal content


@contextmanager
def no_collecting() -> Iterator[None]:
    """Without looking for garbage: a list of all images is none, and is looked through again and again."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def face_layout(name: str, find, *, size: int = 64, needs_root: bool = True, **options: Any) -> Layout:
    """A layout of faces in files; `options` are its own, beside OPTIONS."""
    return Layout(name, EMOTIONS, None, read, needs_root, {**OPTIONS, **options}, size, find)


def gather(
    layout: Layout,
    root: str | None,
    options: dict[str, Any],
    *,
    seed: int,
    strict: bool,
    crop: str,
    keep_faceless: bool,
    budget: Budget,
    pool: Pool,
    scratch: Path,
    progress: bool,
) -> Gathered:
    """Find the images of a data set, look at each, and give each its split.

    Raises JobError when nothing is found, `strict` meets what would be left out, too many files cannot be read, or the
    images are too few for three splits.
    """
    notes = Notes(strict=strict)
    own = {name: value for name, value in options.items() if name not in ("val", "test", "subjects")}
    wanted = _wanted(layout, root, layout.find(root, notes, **own), options, notes)
    if not wanted and not notes.skipped:
        told = ", ".join(f"{n} of {what}" for what, n in sorted(notes.left_out.items()))
        told = told and f" ({told} left out)"
        raise JobError(f"layout {layout.name} found no images below {root}{told}: check --root, --source and --target")
    facts = _survey([found for found, _, _ in wanted], crop == "face", pool, scratch, progress)
    skipped, kept = list(notes.skipped), []
    no_face = []
    for (found, domain, label), (content, reason, face) in zip(wanted, facts):
        if reason is not None:
            skipped.append((found.origin, reason))
            continue
        if crop == "face" and face is None:
            no_face.append(found.origin)
            if not keep_faceless:
                notes.left_out["images without a face"] += 1
                continue
        kept.append((found, domain, label, content, face))
    budget.start(len(wanted) + len(notes.skipped), skipped)
    items = [
        Item(domain, label, found.subject if options["subjects"] else None, content, found.split)
        for found, domain, label, content, _ in kept
    ]
    repeats = repeats_of_held_out(items)
    if repeats:
        notes.left_out["images that equal one of a later split"] += len(repeats)
        kept = [entry for i, entry in enumerate(kept) if i not in repeats]
        items = [item for i, item in enumerate(items) if i not in repeats]
    _check_domains(layout, options, items)
    splits = assign_splits(items, seed=seed, val=options["val"], test=options["test"], name=layout.name)
    records = [
        Record(found.origin, domain, split, label, item.subject, found.origin, (found.place, face), content)
        for (found, domain, label, content, face), item, split in zip(kept, items, splits)
    ]
    return Gathered(records, dict(sorted(notes.left_out.items())), skipped, no_face, _copies(records))


def _wanted(layout, root, images, options, notes) -> list[tuple[Found, str, int]]:
    """The images of either domain that show one of the seven emotions."""
    if _same(options["source"], options["target"]):
        raise JobError(f"--source {options['source']} and --target {options['target']} are the same domain")
    wanted = []
    roles: dict[str | None, str | None] = {SOURCE: SOURCE, TARGET: TARGET}
    labels: dict[str, int | None] = {}
    for found in images:
        if found.domain not in roles:
            roles[found.domain] = next((r for r in (SOURCE, TARGET) if same_domain(found.domain, options[r])), None)
        domain = roles[found.domain]
        if domain is None:
            notes.left_out[f"domain {found.domain}" if found.domain else "unknown domain"] += 1
            continue
        if found.emotion not in labels:
            labels[found.emotion] = label_of(found.emotion)
        label = labels[found.emotion]
        if label is None:
            notes.leave_out(f"emotion {found.emotion}", found.origin)
            continue
        wanted.append((found, domain, label))
    return wanted


def _same(one: str | None, other: str | None) -> bool:
    return one is not None and same_domain(one, other)


def _survey(images: Sequence[Found], faces: bool, pool: Pool, scratch: Path, progress: bool) -> list[Fact]:
    chunks = [images[first : first + CHUNK] for first in range(0, len(images), CHUNK)]
    tasks = [(number, [f.place for f in chunk], faces, scratch) for number, chunk in enumerate(chunks)]
    doing = "looking for faces" if faces else "looking"
    results = follow(pool.run(survey_chunk, tasks), len(images), lambda result: len(result[1]), doing, progress)
    return [fact for _, facts in sorted(results, key=lambda result: result[0]) for fact in facts]


def _check_domains(layout: Layout, options: dict[str, Any], items: Sequence[Item]) -> None:
    held = {item.domain for item in items}
    for role in (SOURCE, TARGET):
        if role not in held:
            raise JobError(
                f"layout {layout.name} found no image of the {role}, {options[role]}: name it as the data set does, "
                f"--{role} NAME"
            )


def _copies(records: Sequence[Record]) -> list[list[Record]]:
    by_content: dict[str, int | list[Record]] = {}
    for i, record in enumerate(records):
        earlier = by_content.setdefault(record.content, i)
        if isinstance(earlier, list):
            earlier.append(record)
        elif earlier != i:
            by_content[record.content] = [records[earlier], record]
    return [group for group in by_content.values() if isinstance(group, list)]
