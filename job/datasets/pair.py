"""Two data sets of any layouts as the two domains: `--source ckplus:/data/CK+ --target jaffe:/data/jaffe`.

Everything in a data set belongs to its domain, whatever genders or domains it has of its own. The options
source_classes and target_classes are the option classes of a side that is of the layout webdataset.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from job.datasets.image_search import Found, Notes
from job.datasets.layout import OPTIONS, Layout, face_layout
from job.system.errors import JobError
from job.vocabulary import DOMAINS, SOURCE, TARGET


def find(
    root: str | None,
    notes: Notes,
    *,
    source: str | None,
    target: str | None,
    source_classes: str | None,
    target_classes: str | None,
) -> Iterator[Found]:
    """The images of both; no subject of one is taken for one of the other."""
    for role, said, classes in ((SOURCE, source, source_classes), (TARGET, target, target_classes)):
        for found in _one(role, said, classes, notes):
            subject = None if found.subject is None else f"{role}-{found.subject}"
            yield found._replace(domain=role, subject=subject, origin=f"{role}/{found.origin}")


def folders_of(options: dict[str, Any]) -> dict[str, str]:
    """The folders of both data sets by the option that names them. Raises JobError as `find` does."""
    return {f"--{role}": _data_set(role, options[role])[1] for role in DOMAINS}


def _one(role: str, said: str | None, classes: str | None, notes: Notes) -> Iterator[Found]:
    layout, folder = _data_set(role, said)
    own = {option: value for option, value in layout.options.items() if option not in OPTIONS}
    if classes is not None:
        if "classes" not in own:
            raise JobError(
                f"--option {role}_classes={classes}: layout {layout.name} has no classes to name: leave it out"
            )
        own["classes"] = classes
    return layout.find(folder, notes, source=None, target=None, **own)


def _data_set(role: str, said: str | None) -> tuple[Layout, str]:
    """Layout and folder of one of the two."""
    from job.datasets import find_layout

    name, _, folder = (said or "").partition(":")
    if not name or not folder:
        raise JobError(f"layout pair wants --{role} LAYOUT:DIR, such as jaffe:/data/jaffe, and not {said!r}")
    layout = find_layout(name)
    if layout.find is None or name == "pair":
        raise JobError(f"--{role} {said}: {name} is not a layout of one data set on disk: choose another")
    if not Path(folder).is_dir():
        raise JobError(f"--{role} {said}: there is no folder {folder}")
    return layout, folder


def only_in_a_pair(name: str, root: str, source: str | None) -> None:
    """Raise JobError where a data set that is one domain is asked for alone: then the user has named two of it."""
    if source is not None:
        raise JobError(
            f"{name} is one domain and wants another: job shards pair --source {name}:{root} --target LAYOUT:DIR"
        )


LAYOUT = face_layout("pair", find, needs_root=False, source_classes=None, target_classes=None)
