"""Build messages for a data set without images, or without images of one domain.

They name what was expected and where, what is there instead, and the option that helps.
"""

from collections import Counter
from typing import Any

from job.datasets.image_search import Notes
from job.datasets.layout import NO_SOURCE, Layout

_MAX_LISTED = 5  # names in a message
_DOMAIN, _NO_DOMAIN = "domain ", "unknown domain"

# Advice for images of unknown domain, by layout.
_NAME_THE_DOMAIN = {
    "folders": "put the images of each domain into a folder of its own, and give --root the folder that contains both",
    "webdataset": "each .json needs a field domain; or use layout pair with the tars of each domain",
    "rafdb": "the table of --option gender=FILE must name them in its column image",
    "fer2013": "the table of --option gender=FILE must name them in its column image",
}
_ADVICE = {  # by the start of a key of Notes.left_out
    "photos from another angle": "choose the angles, --option angles=all",
    "files that are not named": "give --root the folder of the data set as distributed, or choose another layout",
    "files below no folder": "give --root the folder of the data set as distributed, or choose another layout",
    "images of the source without a label": "put them into folders named after their classes, in tars: add a .cls",
    "samples without an image .": "correct --option image",
}


def no_images(layout: Layout, root: str | None, options: dict[str, Any], notes: Notes) -> str:
    """Explain in one line why a layout found no images of either domain."""
    problem = f"layout {layout.name} found no images of {_wanted(options)} below {_folders(root, options)}"
    return f"{problem}: {_instead(layout, options, notes)}"


def no_images_of(role: str, layout: Layout, root: str | None, options: dict[str, Any], notes: Notes) -> str:
    """Explain in one line why a layout found no images of one domain."""
    if not layout.needs_root:
        return (
            f"layout {layout.name} found no images below --{role} {options[role]}: {_instead(layout, options, notes)}"
        )
    others = _domains(notes)
    hint = f"; it has {_some(others)}" if others else ""
    if not others and notes.skipped:
        hint = f"; {notes.skipped[0][0]} could not be read ({notes.skipped[0][1]})"
    elif not others and notes.left_out:
        hint = f"; besides the other domain there are {_some(notes.left_out, count=True)}"
    return (
        f"layout {layout.name} found no image of the {role}, {options[role]}, below {root}: "
        f"use the name in the data set, --{role} NAME{hint}"
    )


def _wanted(options: dict[str, Any]) -> str:
    return options["target"] if options["source"] == NO_SOURCE else f"{options['source']} or {options['target']}"


def _folders(root: str | None, options: dict[str, Any]) -> str:
    if root is not None:
        return root
    return " or ".join(str(options[role]).partition(":")[2] for role in ("source", "target"))


def _instead(layout: Layout, options: dict[str, Any], notes: Notes) -> str:
    """Name what is there instead, and what to do."""
    others = _domains(notes)
    if others:
        return f"it has {_some(_of_images(others), count=True)}: name two of them, --source NAME --target NAME"
    images = notes.left_out[_NO_DOMAIN]
    if images:
        advice = _NAME_THE_DOMAIN.get(layout.name, "correct --source and --target")
        if options.get("gender") is not None:
            advice = _NAME_THE_DOMAIN["rafdb"]
        return f"it has {images} images of unknown domain: {advice}"
    if not notes.left_out:
        return (
            "it contains no file that could be an image: correct --root"
            if layout.needs_root
            else "it is empty: correct it"
        )
    files = Counter({what: n for what, n in notes.left_out.items() if what.startswith("files ")})
    advice = next(
        (advice for start, advice in _ADVICE.items() for what in notes.left_out if what.startswith(start)), ""
    )
    if not advice and len(files) == len(notes.left_out):
        advice = "these formats cannot be read: convert them, to PNG for instance, or correct --root"
    return f"there are {_some(notes.left_out, count=True)}: {advice or 'correct --root, --source or --target'}"


def _domains(notes: Notes) -> Counter[str]:
    named = {what[len(_DOMAIN) :]: count for what, count in notes.left_out.items() if what.startswith(_DOMAIN)}
    return Counter(named)


def _of_images(domains: Counter[str]) -> Counter[str]:
    return Counter({f"images of {name}": count for name, count in domains.items()})


def _some(counts: Counter[str], count: bool = False) -> str:
    """List the first few names, with their counts if `count` is set."""
    names = [f"{counts[what]} {what}" if count else what for what in sorted(counts)]
    listed = ", ".join(name[:60] for name in names[:_MAX_LISTED])
    return listed if len(names) <= _MAX_LISTED else f"{listed}, ... ({len(names)} in all)"
