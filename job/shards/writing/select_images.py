"""From a data set on disk to records: domains and classes by name, splits."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from job.datasets.class_names import FOLDERS, OF_EMOTIONS, Classes, natural
from job.datasets.image_search import Found, Notes, same_domain
from job.datasets.layout import Layout, Record
from job.datasets.subjects import same_person
from job.shards.writing.convert import Converted
from job.shards.writing.nothing_found import no_images, no_images_of
from job.shards.writing.splits import Item, assign_splits, repeats_of_held_out
from job.system.errors import JobError
from job.system.text import shortened
from job.vocabulary import DOMAINS, SOURCE, TARGET, UNLABELLED

_NAMED = 8  # so many names of classes are listed in a message


class Image(NamedTuple):
    """An image of either domain, before anybody has looked into its file; of the target perhaps without a label."""

    found: Found
    domain: str
    label: int


@dataclass
class Selection:
    """The images of a data set that are wanted, the names of the classes that their labels count, notes of the rest.

    `unnamed` counts images of the target that were taken without a label although their data set says something where
    a class is looked for, by what it says.
    """

    images: list[Image]
    classes: Classes
    notes: Notes
    unnamed: Counter[str] = field(default_factory=Counter)


@dataclass
class Gathered:
    """The records, the names of their classes, and what the user should know of the rest."""

    records: list[Record]
    class_names: tuple[str, ...] = OF_EMOTIONS.names
    left_out: dict[str, int] = field(default_factory=dict)
    no_face: list[str] = field(default_factory=list)
    copies: list[list[Record]] = field(default_factory=list)  # groups of records with equal content
    unnamed: Counter[str] = field(default_factory=Counter)  # as of the Selection


def find_images(layout: Layout, root: str | None, options: dict[str, Any], strict: bool) -> Selection:
    """The images of a data set that are wanted, and notes of the rest.

    Raises JobError when nothing is found of one of the domains, no image of the source has a label, or `strict` meets
    what would be left out.
    """
    notes = Notes(strict=strict)
    own = {name: value for name, value in options.items() if name not in ("val", "test", "subjects")}
    if _same(options["source"], options["target"]):
        raise JobError(f"--source {options['source']} and --target {options['target']} are the same domain")
    classes = layout.classes_of(root, options)
    selection = _select(layout.find(root, notes, **own), options, classes, notes)
    images = selection.images
    if not images and (notes.left_out or not notes.skipped):
        raise JobError(no_images(layout, root, options, notes))
    if images:
        _check_domains(layout, root, options, images, notes)
    return selection


def unusable(images: Sequence[Image], converted: Sequence[Converted]) -> list[tuple[str, str]]:
    """(path, reason) of the images of which no JPEG could be made."""
    return [(image.found.origin, result.reason) for image, result in zip(images, converted) if result.jpeg is None]


def gather(layout: Layout, settings: dict[str, Any], selection: Selection, converted: Sequence[Converted]) -> Gathered:
    """Records of the images that can be used, each with its split; their payload is where the JPEG is.

    Of the `settings` of a manifest, seed, no_face and options count. Raises JobError when a domain has nothing left, or
    the images are too few for three splits.
    """
    options = settings["options"]
    left_out = Counter(selection.notes.left_out)
    no_face, kept = [], []
    for image, result in zip(selection.images, converted):
        if result.jpeg is None:
            continue
        if not result.face:
            no_face.append(image.found.origin)
            if settings["no_face"] == "drop":
                left_out["images without a face"] += 1
                continue
        kept.append((image, result))
    items = [
        Item(domain, label, same_person(found.subject) if options["subjects"] else None, result.digest, found.split)
        for (found, domain, label), result in kept
    ]
    repeats = repeats_of_held_out(items)
    if repeats:
        left_out["images that equal one of a later split"] += len(repeats)
        kept = [entry for i, entry in enumerate(kept) if i not in repeats]
        items = [item for i, item in enumerate(items) if i not in repeats]
    for role in DOMAINS:
        if not any(item.domain == role for item in items):
            told = ", ".join(f"{n} {what}" for what, n in sorted(left_out.items()))
            raise JobError(
                f"layout {layout.name} has no image of the {role} left ({told or 'none can be read'}): "
                "see --crop and --no-face"
            )
    splits = assign_splits(items, seed=settings["seed"], val=options["val"], test=options["test"], name=layout.name)
    records = [
        Record(found.origin, domain, split, label, item.subject and found.subject, found.origin, result.jpeg)
        for ((found, domain, label), result), item, split in zip(kept, items, splits)
    ]
    return Gathered(
        records,
        selection.classes.names,
        dict(sorted(left_out.items())),
        no_face,
        _copies(items, records),
        selection.unnamed,
    )


def digest_images(images: Sequence[Image], digests: Iterable[str | None]) -> str:
    """sha256 (hex) of what the data set says of its images, and of their content."""
    said = [
        (found.origin, domain, label, found.subject, found.split, content)
        for (found, domain, label), content in zip(images, digests)
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _select(found_images: Iterable[Found], options: dict[str, Any], classes: Classes, notes: Notes) -> Selection:
    """The images of either domain, with their labels. The source needs labels; the target is taken without.

    Where the data set names a class that is none of the classes, an image is left out as one of another class, with
    one exception: no image in the same split of the target shows a known class, and the source does not use the name
    either. Then the names mean something else, such as a person or a day, and these images have no label.
    """
    listed: dict[str, list[Found]] = {role: [] for role in DOMAINS}
    found_images = list(found_images)
    roles = _roles({found.domain for found in found_images}, options)
    for found in found_images:
        role = roles[found.domain]
        if role is None:
            notes.left_out[f"domain {found.domain}" if found.domain else "unknown domain"] += 1
        else:
            listed[role].append(found)
    names = Counter(found.emotion for found in listed[SOURCE] if found.emotion is not None)
    if listed[SOURCE]:
        classes = classes.settle(names, f"the source, {options['source']},")
    labels = {word: classes.label_of(word) for word in {found.emotion for found in found_images} - {None}}
    if listed[SOURCE] and listed[TARGET] and all(labels[name] is None for name in names):
        raise JobError(_no_labels(options, classes, names, len(listed[SOURCE])))
    known = {found.split for found in listed[TARGET] if labels.get(found.emotion) is not None}
    selection = Selection([], classes, notes)
    for role in DOMAINS:
        for found in listed[role]:
            label = labels.get(found.emotion)
            if label is None and role == TARGET and found.emotion is not None:
                if found.split in known or found.emotion in names:
                    notes.leave_out(f"{classes.noun} {found.emotion}", found.origin)
                    continue
                selection.unnamed[found.emotion] += 1
            elif label is None and role == SOURCE:
                what = "images of the source without a label"
                notes.leave_out(what if found.emotion is None else f"{classes.noun} {found.emotion}", found.origin)
                continue
            selection.images.append(Image(found, role, UNLABELLED if label is None else label))
    return selection


def _no_labels(options: dict[str, Any], classes: Classes, names: Counter[str], images: int) -> str:
    """Why no image of the source has a label, and what to do."""
    source = f"the source, {options['source']},"
    if not names:
        return (
            f"none of the {images} images of {source} has a label, and training needs them: put them into folders "
            "named after their classes (in a table: a column emotion, in tars: a .cls), or exchange --source and "
            "--target where the other domain is the labelled one"
        )
    wanted = "one of the seven emotions" if classes.emotions else f"one of the classes {_some(classes.names)}"
    hint = "correct the list"
    if classes.emotions:
        hint = f"take these names as the classes, --option classes={FOLDERS}, or some of them, classes=NAME,NAME,..."
        if "classes" not in options:
            hint = "check --source"
    return f"no image of {source} shows {wanted}; the names found are {_some(sorted(names, key=natural))}: {hint}"


def _some(names: Sequence[str]) -> str:
    listed = ", ".join(shortened(name, 60) for name in names[:_NAMED])
    return listed if len(names) <= _NAMED else f"{listed}, ... ({len(names)} in all)"


def _roles(domains: set[str | None], options: dict[str, Any]) -> dict[str | None, str | None]:
    """Source, target or None for each of the data set's own domains: by the names that the user gave.

    Where these fit none, `source` and `target` mean themselves, as in a pair and in shards of our own.
    """
    roles = {domain: next((r for r in DOMAINS if same_domain(domain, options[r])), None) for domain in domains}
    if not any(roles.values()):
        roles |= {role: role for role in DOMAINS if role in domains}
    return roles


def _same(one: str | None, other: str | None) -> bool:
    return one is not None and same_domain(one, other)


def _check_domains(
    layout: Layout, root: str | None, options: dict[str, Any], images: Sequence[Image], notes: Notes
) -> None:
    found = {image.domain for image in images}
    for role in DOMAINS:
        if role not in found:
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
