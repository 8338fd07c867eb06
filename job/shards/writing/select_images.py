"""From a data set on disk to records: domains and emotions by name, splits."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from job.datasets.classes import label_of
from job.datasets.image_search import Found, Notes, same_domain
from job.datasets.layout import Layout, Record
from job.shards.writing.convert import Converted
from job.shards.writing.splits import Item, assign_splits, repeats_of_held_out
from job.system.errors import JobError
from job.vocabulary import DOMAINS


class Image(NamedTuple):
    """An image of either domain that shows one of the classes, before anybody has looked into its file."""

    found: Found
    domain: str
    label: int


@dataclass
class Gathered:
    """The records, and what the user should be told of the rest."""

    records: list[Record]
    left_out: dict[str, int] = field(default_factory=dict)
    no_face: list[str] = field(default_factory=list)
    copies: list[list[Record]] = field(default_factory=list)  # groups of records with equal content


def find_images(layout: Layout, root: str | None, options: dict[str, Any], strict: bool) -> tuple[list[Image], Notes]:
    """The images of a data set that are wanted, and notes of the rest.

    Raises JobError when nothing is found of one of the domains, or `strict` meets what would be left out.
    """
    notes = Notes(strict=strict)
    own = {name: value for name, value in options.items() if name not in ("val", "test", "subjects")}
    images = _wanted(layout.find(root, notes, **own), options, notes)
    if not images and (notes.left_out or not notes.skipped):
        told = ", ".join(f"{n} of {what}" for what, n in sorted(notes.left_out.items()))
        told = told and f" ({told} left out)"
        raise JobError(f"layout {layout.name} found no images below {root}{told}: check --root, --source and --target")
    if images:
        _check_domains(layout, options, images, notes)
    return images, notes


def unusable(images: Sequence[Image], converted: Sequence[Converted]) -> list[tuple[str, str]]:
    """(path, reason) of the images of which no JPEG could be made."""
    return [(image.found.origin, result.reason) for image, result in zip(images, converted) if result.jpeg is None]


def gather(
    layout: Layout, settings: dict[str, Any], images: Sequence[Image], notes: Notes, converted: Sequence[Converted]
) -> Gathered:
    """Records of the images that can be used, each with its split; their payload is where the JPEG is.

    Of the `settings` of a manifest, seed, no_face and options count. Raises JobError when a domain has nothing left, or
    the images are too few for three splits.
    """
    options = settings["options"]
    left_out = Counter(notes.left_out)
    no_face, kept = [], []
    for image, result in zip(images, converted):
        if result.jpeg is None:
            continue
        if not result.face:
            no_face.append(image.found.origin)
            if settings["no_face"] == "drop":
                left_out["images without a face"] += 1
                continue
        kept.append((image, result))
    items = [
        Item(domain, label, found.subject if options["subjects"] else None, result.digest, found.split)
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
        Record(found.origin, domain, split, label, item.subject, found.origin, result.jpeg)
        for ((found, domain, label), result), item, split in zip(kept, items, splits)
    ]
    return Gathered(records, dict(sorted(left_out.items())), no_face, _copies(items, records))


def digest_images(images: Sequence[Image], digests: Iterable[str | None]) -> str:
    """sha256 (hex) of what the data set says of its images, and of their content."""
    said = [
        (found.origin, domain, label, found.subject, found.split, content)
        for (found, domain, label), content in zip(images, digests)
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _wanted(found_images, options, notes) -> list[Image]:
    """The images of either domain that show one of the seven emotions."""
    if _same(options["source"], options["target"]):
        raise JobError(f"--source {options['source']} and --target {options['target']} are the same domain")
    listed = list(found_images)
    roles = _roles({found.domain for found in listed}, options)
    wanted = []
    labels: dict[str, int | None] = {}
    for found in listed:
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
        wanted.append(Image(found, domain, label))
    return wanted


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


def _check_domains(layout: Layout, options: dict[str, Any], images: Sequence[Image], notes: Notes) -> None:
    held = {image.domain for image in images}
    for role in DOMAINS:
        if role not in held:
            others = [what.removeprefix("domain ") for what in sorted(notes.left_out) if what.startswith("domain ")]
            others = others[:5] + ["..."] * (len(others) > 5)
            hint = f"; it has {', '.join(others)}" if others else ""
            if not others and notes.skipped:
                hint = f"; {notes.skipped[0][0]} could not be looked at ({notes.skipped[0][1]})"
            raise JobError(
                f"layout {layout.name} found no image of the {role}, {options[role]}: name it as the data set does, "
                f"--{role} NAME{hint}"
            )


def _copies(items: Sequence[Item], records: Sequence[Record]) -> list[list[Record]]:
    by_content: dict[str, int | list[Record]] = {}
    for i, (item, record) in enumerate(zip(items, records)):
        earlier = by_content.setdefault(item.content, i)
        if isinstance(earlier, list):
            earlier.append(record)
        elif earlier != i:
            by_content[item.content] = [records[earlier], record]
    return [group for group in by_content.values() if isinstance(group, list)]
