"""Combine two data sets of any layouts as the two domains: `--source ckplus:/data/CK+ --target jaffe:/data/jaffe`.

Every image of a data set belongs to its side's domain, whatever genders or domains it has itself. An option with a role
before it (`source_ferplus=FILE`, `target_subject=REGEX`) sets the option of that side's layout; without a role
(`ferplus=FILE`) it applies to every side that has it. The option `classes` without a role also sets the pair's classes.
"""

import os
from collections.abc import Iterator
from typing import Any

from job.datasets import LAYOUTS, find_layout
from job.datasets.class_names import Classes, read_classes
from job.datasets.image_search import ImageEntry, Notes
from job.datasets.layout import OPTIONS, Layout, file_layout
from job.system.errors import JobError
from job.vocabulary import DOMAINS, SOURCE, TARGET

_NO_SIDES = ("pair", "faces", "mnist-m")  # the last two are generated with both domains
_SIDES = [find_layout(name) for name in LAYOUTS if name not in _NO_SIDES]


def _own(layout: Layout) -> dict[str, Any]:
    """Return the options that are specific to a layout, with their defaults."""
    return {o: default for o, default in layout.options.items() if o not in OPTIONS and o not in layout.newer}


_OPTIONS = sorted({option for layout in _SIDES for option in _own(layout)})


def find(
    root: str | None, notes: Notes, *, source: str | None, target: str | None, **options: Any
) -> Iterator[ImageEntry]:
    """Yield the images of both data sets; subjects get the role as a prefix, so that the two never share one."""
    options |= {SOURCE: source, TARGET: target}
    _check_used(options)
    for role in DOMAINS:
        layout, folder = _data_set(role, options[role])
        for entry in layout.find(folder, notes, source=None, target=None, **_side_options(role, layout, options)):
            subject = None if entry.subject is None else f"{role}-{entry.subject}"
            yield entry._replace(domain=role, subject=subject, origin=f"{role}/{entry.origin}")


def classes_of(root: str | None, options: dict[str, Any]) -> Classes:
    """Return the classes of the option, or else those of the source's data set."""
    if options["classes"] is not None:
        return read_classes(options["classes"])
    layout, folder = _data_set(SOURCE, options[SOURCE])
    return layout.classes_of(folder, _side_options(SOURCE, layout, options))


def folders_of(options: dict[str, Any]) -> dict[str, str]:
    """Return the folders of both data sets by their option. Raises JobError as `find` does."""
    return {f"--{role}": _data_set(role, options[role])[1] for role in DOMAINS}


def _side_options(role: str, layout: Layout, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of one side's layout: those with its role, else those without a role, else the defaults."""
    side = _own(layout)
    for option in _OPTIONS:
        value = options[f"{role}_{option}"]
        if value is not None and option not in side:
            raise JobError(f"--option {role}_{option}={value}: layout {layout.name} has no option {option}: remove it")
        value = options[option] if value is None else value
        if value is not None and option in side:
            side[option] = value
    return side


def _check_used(options: dict[str, Any]) -> None:
    """Raise JobError for an option that neither side has."""
    layouts = [_data_set(role, options[role])[0] for role in DOMAINS]
    for option in _OPTIONS:
        if options[option] is not None and option != "classes" and not any(option in _own(each) for each in layouts):
            names = " nor ".join(layout.name for layout in layouts)
            raise JobError(f"--option {option}={options[option]}: neither {names} has an option {option}: remove it")


def _data_set(role: str, value: str | None) -> tuple[Layout, str]:
    """Parse LAYOUT:DIR of one side into layout and folder. Raises JobError when it is invalid."""
    name, _, folder = (value or "").partition(":")
    if not name or not folder:
        raise JobError(f"layout pair expects --{role} LAYOUT:DIR, such as jaffe:/data/jaffe, not {value!r}")
    layout = find_layout(name)
    if layout not in _SIDES:
        raise JobError(f"--{role} {value}: {name} is not a layout of one data set on disk: choose another")
    if not os.path.isdir(folder):
        raise JobError(f"--{role} {value}: there is no folder {folder}")
    return layout, folder


LAYOUT = file_layout(
    "pair",
    find,
    needs_root=False,
    numbers=[f"{role}{name}" for role in ("", "source_", "target_") for name in ("peak", "onset")],
    classes_of=classes_of,
    **{f"{role}{option}": None for role in ("", "source_", "target_") for option in _OPTIONS},
)
