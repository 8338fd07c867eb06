"""Folders that say what is in them: `Male/Joy/*.jpg`, `Female/*.jpg`, with train, val and test at any level.

`--source` and `--target` name the two folders, whatever they are: any two domains will do. The target needs no folders
of classes. Folders between or below those that say something are passed over. `--option subject=REGEX` takes the
subject from the path below the root, `--option classes=...` says which folders are classes (job.datasets.class_names).
"""

import re
import warnings
from collections.abc import Iterator
from functools import lru_cache

from job.datasets.class_names import OF_EMOTIONS, Classes, is_unlabelled, read_classes
from job.datasets.image_search import Found, Notes, same_domain, simple, walk
from job.datasets.layout import file_layout
from job.datasets.split_names import split_of, split_of_folders
from job.system.errors import JobError


def find(
    root: str, notes: Notes, *, source: str | None, target: str | None, subject: str | None, classes: str | None = None
) -> Iterator[Found]:
    """Every image below `root`. Without `source` and `target`, no folder is a domain."""
    pattern = compiled("subject", subject)
    known = read_classes(classes)
    read = lru_cache(maxsize=64)(lambda folder: read_folders(folder.split("/")[:-1], (source, target), known))
    matched = False
    for path, origin in walk(root, notes):
        domain, emotion, split = read(origin[: origin.rfind("/") + 1])
        person = pattern.search(origin) if pattern else None
        matched = matched or person is not None
        yield Found(origin, path, domain, emotion, person and (person[1] if pattern.groups else person[0]), split)
    if pattern and not matched:
        raise JobError(f"--option subject={subject} matches no path below {root}: no subject would be known")


def read_folders(
    folders: list[str], domains: tuple[str | None, ...] = (), classes: Classes = OF_EMOTIONS
) -> tuple[str | None, str | None, str | None]:
    """Domain, class and split by the names of the folders.

    Of several folders that name a class the one nearest to the file counts, or, where none does, the nearest of all
    under its own name: it may be a class that nobody knows. The class is None where no folder is left to name it.
    People may be called Ha, An or Di: codes of two letters count only where no other name of an emotion is there.
    """
    domain = split = None
    rest = []
    for name in folders:
        if domain is None and any(same_domain(name, wanted) for wanted in domains):
            domain = name
        elif split is None and split_of(name) is not None:
            split = split_of(name)
        else:
            rest.append(name)
    known = [name for name in rest if classes.label_of(name) is not None]
    if classes.emotions:
        known = [name for name in known if len(simple(name)) > 2] or known
    if split is None:
        split_of_folders(name for name in rest if name not in known)  # refuses what only looks like a split
    shown = (known or rest or [None])[-1]
    if domain is None and rest:
        domain = next((name for name in rest if name != shown), None)
    return domain, None if is_unlabelled(shown) else shown, split


def compiled(option: str, pattern: str | None) -> re.Pattern | None:
    """A regular expression of the user's. Raises JobError when it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a later Python may read otherwise
            return None if pattern is None else re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise JobError(f"--option {option}={pattern} is not a regular expression: {error}") from None


LAYOUT = file_layout("folders", find, subject=None, classes=None)
