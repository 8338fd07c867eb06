"""Two data sets of any layouts as the two domains: `--source ckplus:/data/CK+ --target jaffe:/data/jaffe`.

Everything in a data set belongs to its domain, whatever genders or domains it has of its own. An option of a side's
layout is given with the role before it (`source_ferplus=FILE`, `target_subject=REGEX`), or as it is to every side that
has it (`ferplus=FILE`). The option `classes` alone also says which classes the pair has.
"""

import os
from collections.abc import Iterator
from typing import Any

from job.datasets import LAYOUTS, find_layout
from job.datasets.class_names import Classes, read_classes
from job.datasets.image_search import Found, Notes
from job.datasets.layout import OPTIONS, Layout, file_layout
from job.system.errors import JobError
from job.vocabulary import DOMAINS, SOURCE, TARGET

_NO_SIDES = ("pair", "faces", "mnist-m")  # the last two are made, and have both domains
_SIDES = [find_layout(name) for name in LAYOUTS if name not in _NO_SIDES]


def _own(layout: Layout) -> dict[str, Any]:
    """The options of a layout that not every layout of files has, with their defaults."""
    return {option: default for option, default in layout.options.items() if option not in OPTIONS}


_OPTIONS = sorted({option for layout in _SIDES for option in _own(layout)})


def find(root: str | None, notes: Notes, *, source: str | None, target: str | None, **options: Any) -> Iterator[Found]:
    """The images of both; no subject of one is taken for one of the other."""
    options |= {SOURCE: source, TARGET: target}
    _check_used(options)
    for role in DOMAINS:
        layout, folder = _data_set(role, options[role])
        for found in layout.find(folder, notes, source=None, target=None, **_side_options(role, layout, options)):
            subject = None if found.subject is None else f"{role}-{found.subject}"
            yield found._replace(domain=role, subject=subject, origin=f"{role}/{found.origin}")


def classes_of(root: str | None, options: dict[str, Any]) -> Classes:
    """The classes that the option names, or else those of the source's data set."""
    if options["classes"] is not None:
        return read_classes(options["classes"])
    layout, folder = _data_set(SOURCE, options[SOURCE])
    return layout.classes_of(folder, _side_options(SOURCE, layout, options))


def folders_of(options: dict[str, Any]) -> dict[str, str]:
    """The folders of both data sets by the option that names them. Raises JobError as `find` does."""
    return {f"--{role}": _data_set(role, options[role])[1] for role in DOMAINS}


def _side_options(role: str, layout: Layout, options: dict[str, Any]) -> dict[str, Any]:
    """The options of one side's layout: the role's own, those given to both, the defaults, in this order."""
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


def _data_set(role: str, said: str | None) -> tuple[Layout, str]:
    """Layout and folder of one of the two."""
    name, _, folder = (said or "").partition(":")
    if not name or not folder:
        raise JobError(f"layout pair wants --{role} LAYOUT:DIR, such as jaffe:/data/jaffe, and not {said!r}")
    layout = find_layout(name)
    if layout not in _SIDES:
        raise JobError(f"--{role} {said}: {name} is not a layout of one data set on disk: choose another")
    if not os.path.isdir(folder):
        raise JobError(f"--{role} {said}: there is no folder {folder}")
    return layout, folder


LAYOUT = file_layout(
    "pair",
    find,
    needs_root=False,
    numbers=[f"{role}{name}" for role in ("", "source_", "target_") for name in ("peak", "onset")],
    classes_of=classes_of,
    **{f"{role}{option}": None for role in ("", "source_", "target_") for option in _OPTIONS},
)
