"""Select the images of a data set on disk by domain and class, and make them into records with splits."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from job.datasets.class_names import FOLDERS, OF_EMOTIONS, Classes, natural
from job.datasets.image_search import ImageEntry, Notes, same_domain
from job.datasets.layout import NO_SOURCE, Layout, Record
from job.datasets.subjects import same_person
from job.shards.writing.convert import ConversionResult
from job.shards.writing.folds import assign_folds
from job.shards.writing.nothing_found import no_images, no_images_of
from job.shards.writing.splits import Item, assign_splits, repeats_of_held_out
from job.system.errors import JobError
from job.system.text import shortened
from job.vocabulary import DOMAINS, SOURCE, TARGET, UNLABELLED

_MAX_LISTED = 8  # names of classes in a message
_OF_SPLITS = ("val", "test", "subjects", "folds")  # options that no layout needs to find its images


class SelectedImage(NamedTuple):
    """An image of source or target before its file is read; `label` may be UNLABELLED in the target."""

    entry: ImageEntry
    domain: str
    label: int


@dataclass
class Selection:
    """The selected images of a data set, the classes that their labels index, and notes of the dropped images.

    `unnamed` counts, by name, images of the target that are taken without a label because the name of their class
    (a folder, for instance) is not the name of a class.
    """

    images: list[SelectedImage]
    classes: Classes
    notes: Notes
    unnamed: Counter[str] = field(default_factory=Counter)


@dataclass
class RecordSet:
    """Records with the names of their classes, and what to report about the other images."""

    records: list[Record]
    class_names: tuple[str, ...] = OF_EMOTIONS.names
    left_out: dict[str, int] = field(default_factory=dict)
    no_face: list[tuple[str, str]] = field(default_factory=list)  # path, reason
    copies: list[list[Record]] = field(default_factory=list)  # groups of records with equal content
    unnamed: Counter[str] = field(default_factory=Counter)  # as in Selection


def find_images(layout: Layout, root: str | None, options: dict[str, Any], strict: bool) -> Selection:
    """Find and select the images of a data set.

    Raises JobError when a domain has no images, no image of the source has a label, or an image would be dropped while
    `strict` is set.
    """
    notes = Notes(strict=strict)
    layout_options = {name: value for name, value in options.items() if name not in _OF_SPLITS}
    if _same(options["source"], options["target"]):
        raise JobError(f"--source {options['source']} and --target {options['target']} are the same domain")
    classes = layout.classes_of(root, options)
    if classes.names is None and options["source"] == NO_SOURCE:
        raise JobError(f"--option classes={FOLDERS} reads them from the source: list them, classes=NAME,NAME,...")
    selection = _select(layout.find(root, notes, **layout_options), options, classes, notes)
    images = selection.images
    if not images and (notes.left_out or not notes.skipped):
        raise JobError(no_images(layout, root, options, notes))
    if images:
        _check_domains(layout, root, options, images, notes)
    return selection


def unusable_images(images: Sequence[SelectedImage], converted: Sequence[ConversionResult]) -> list[tuple[str, str]]:
    """Return (path, reason) of the images that could not be converted."""
    return [(image.entry.origin, result.reason) for image, result in zip(images, converted) if result.jpeg is None]


def make_records(
    layout: Layout, settings: dict[str, Any], selection: Selection, converted: Sequence[ConversionResult]
) -> RecordSet:
    """Make records of the converted images, each with its split; the payload is the location of the JPEG.

    Reads seed, no_face and options from `settings`. Raises JobError when a domain has no images left, or too few for
    three splits.
    """
    options = settings["options"]
    left_out = Counter(selection.notes.left_out)
    no_face, kept = [], []
    for image, result in zip(selection.images, converted):
        if result.jpeg is None:
            continue
        if result.no_face is not None:
            no_face.append((image.entry.origin, result.no_face))
            if settings["no_face"] == "drop":
                left_out["images without a face"] += 1
                continue
        kept.append((image, result))
    items = [
        Item(domain, label, same_person(entry.subject) if options["subjects"] else None, result.digest, entry.split)
        for (entry, domain, label), result in kept
    ]
    folds = options.get("folds")
    repeats = set() if folds else repeats_of_held_out(items)
    if repeats:
        left_out["images that equal one of a later split"] += len(repeats)
        kept = [pair for i, pair in enumerate(kept) if i not in repeats]
        items = [item for i, item in enumerate(items) if i not in repeats]
    for role in _wanted_roles(options):
        if not any(item.domain == role for item in items):
            reasons = ", ".join(f"{n} {what}" for what, n in sorted(left_out.items()))
            raise JobError(
                f"layout {layout.name} has no image of the {role} left ({reasons or 'none can be read'}): "
                "see --crop and --no-face"
            )
    if folds:
        splits = assign_folds(items, folds, seed=settings["seed"], name=layout.name)
    else:
        shares = {"val": options["val"], "test": options["test"]}
        splits = assign_splits(items, seed=settings["seed"], **shares, name=layout.name)
    records = [
        Record(entry.origin, domain, split, label, item.subject and entry.subject, entry.origin, result.jpeg)
        for ((entry, domain, label), result), item, split in zip(kept, items, splits)
    ]
    return RecordSet(
        records,
        selection.classes.names,
        dict(sorted(left_out.items())),
        no_face,
        _copies(items, records),
        selection.unnamed,
    )


def digest_images(images: Sequence[SelectedImage], digests: Iterable[str | None]) -> str:
    """Return the sha256 (hex) of the descriptions of all images in the data set, and of their contents."""
    rows = [
        (entry.origin, domain, label, entry.subject, entry.split, content)
        for (entry, domain, label), content in zip(images, digests)
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _select(entries: Iterable[ImageEntry], options: dict[str, Any], classes: Classes, notes: Notes) -> Selection:
    """Select the images of both domains with their labels. The source needs labels; the target does not.

    An image with a name that is not one of the classes is dropped, as an image of another class. The exception: when no
    image in the same split of the target has a known class, and the source does not use the name either, the names mean
    something else, such as a person or a day, and the images are taken without a label.
    """
    by_role: dict[str, list[ImageEntry]] = {role: [] for role in DOMAINS}
    entries = list(entries)
    roles = _roles({entry.domain for entry in entries}, options)
    for entry in entries:
        role = roles[entry.domain]
        if role is None:
            notes.left_out[f"domain {entry.domain}" if entry.domain else "unknown domain"] += 1
        else:
            by_role[role].append(entry)
    names = Counter(entry.emotion for entry in by_role[SOURCE] if entry.emotion is not None)
    if by_role[SOURCE]:
        classes = classes.settle(names, f"the source, {options['source']},")
    labels = {word: classes.label_of(word) for word in {entry.emotion for entry in entries} - {None}}
    if by_role[SOURCE] and by_role[TARGET] and all(labels[name] is None for name in names):
        raise JobError(_no_labels(options, classes, names, len(by_role[SOURCE])))
    known = {entry.split for entry in by_role[TARGET] if labels.get(entry.emotion) is not None}
    selection = Selection([], classes, notes)
    for role in DOMAINS:
        for entry in by_role[role]:
            label = labels.get(entry.emotion)
            if label is None and role == TARGET and entry.emotion is not None:
                if entry.split in known or entry.emotion in names:
                    notes.leave_out(f"{classes.noun} {entry.emotion}", entry.origin)
                    continue
                selection.unnamed[entry.emotion] += 1
            elif label is None and role == SOURCE:
                what = "images of the source without a label"
                notes.leave_out(what if entry.emotion is None else f"{classes.noun} {entry.emotion}", entry.origin)
                continue
            selection.images.append(SelectedImage(entry, role, UNLABELLED if label is None else label))
    return selection


def _no_labels(options: dict[str, Any], classes: Classes, names: Counter[str], images: int) -> str:
    """Explain why no image of the source has a label, and what to do."""
    source = f"the source, {options['source']},"
    if not names:
        return (
            f"none of the {images} images of {source} has a label, and training needs them: put them into folders "
            "named after their classes (in a table: a column emotion, in tars: a .cls), or swap --source and "
            "--target if the other domain has the labels"
        )
    wanted = "one of the seven emotions" if classes.emotions else f"one of the classes {_some(classes.names)}"
    hint = "correct the list"
    if classes.emotions:
        hint = f"use these names as the classes, --option classes={FOLDERS}, or some of them, classes=NAME,NAME,..."
        if "classes" not in options:
            hint = "check --source"
    actual = _some(sorted(names, key=natural))
    return f"no image of {source} shows {wanted}; the names in the data set are {actual}: {hint}"


def _some(names: Sequence[str]) -> str:
    listed = ", ".join(shortened(name, 60) for name in names[:_MAX_LISTED])
    return listed if len(names) <= _MAX_LISTED else f"{listed}, ... ({len(names)} in all)"


def _roles(domains: set[str | None], options: dict[str, Any]) -> dict[str | None, str | None]:
    """Return source, target or None for each of the data set's own domains, by the names in the options.

    When the names match no domain, `source` and `target` mean themselves, as in a pair and in this project's shards.
    """
    roles = {domain: next((r for r in DOMAINS if same_domain(domain, options[r])), None) for domain in domains}
    if not any(roles.values()):
        roles |= {role: role for role in DOMAINS if role in domains}
    return roles


def _wanted_roles(options: dict[str, Any]) -> tuple[str, ...]:
    return (TARGET,) if options["source"] == NO_SOURCE else DOMAINS


def _same(one: str | None, other: str | None) -> bool:
    return one is not None and same_domain(one, other)


def _check_domains(
    layout: Layout, root: str | None, options: dict[str, Any], images: Sequence[SelectedImage], notes: Notes
) -> None:
    present = {image.domain for image in images}
    for role in _wanted_roles(options):
        if role not in present:
            raise JobError(no_images_of(role, layout, root, options, notes))


def _copies(items: Sequence[Item], records: Sequence[Record]) -> list[list[Record]]:
    by_content: dict[str, int | list[Record]] = {}
    for i, (item, record) in enumerate(zip(items, records)):
        earlier = by_content.setdefault(item.content, i)
        if isinstance(earlier, list):
            earlier.append(record)
        elif earlier != i:
            by_content[item.content] = [records[earlier], record]
    return [group for group in by_content.values() if isinstance(group, list)]
