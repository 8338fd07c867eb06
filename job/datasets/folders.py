"""Read images in folders named after domains and classes: `Male/Joy/*.jpg`, `Female/*.jpg`, with train, val and test
at any level.

`--source` and `--target` name the two folders of any two domains. The target needs no folders of classes. Other folders
are ignored. `--option subject=REGEX` takes the subject from the path below the root, `--option classes=...` selects the
folders that are classes (job.datasets.class_names).
"""

import re
import warnings
from collections.abc import Iterator
from functools import lru_cache

from job.datasets.class_names import OF_EMOTIONS, Classes, is_unlabelled, read_classes
from job.datasets.image_search import ImageEntry, Notes, same_domain, simple, walk
from job.datasets.layout import file_layout
from job.datasets.split_names import split_of, split_of_folders
from job.system.errors import JobError


def find(
    root: str, notes: Notes, *, source: str | None, target: str | None, subject: str | None, classes: str | None = None
) -> Iterator[ImageEntry]:
    """Yield every image below `root`. Without `source` and `target`, no folder is a domain."""
    pattern = compiled("subject", subject)
    known = read_classes(classes)
    read = lru_cache(maxsize=64)(lambda folder: read_folders(folder.split("/")[:-1], (source, target), known))
    matched = False
    for path, origin in walk(root, notes):
        domain, emotion, split = read(origin[: origin.rfind("/") + 1])
        person = pattern.search(origin) if pattern else None
        matched = matched or person is not None
        yield ImageEntry(origin, path, domain, emotion, person and (person[1] if pattern.groups else person[0]), split)
    if pattern and not matched:
        raise JobError(
            f"--option subject={subject} matches no path below {root}: correct it, or no subject would be known"
        )


def read_folders(
    folders: list[str], domains: tuple[str | None, ...] = (), classes: Classes = OF_EMOTIONS
) -> tuple[str | None, str | None, str | None]:
    """Return domain, class and split by the names of the folders.

    Of several folders that name a class, the one nearest to the file counts. Where no folder names a known class, the
    nearest remaining folder counts under its own name: it may be an unknown class. The class is None where no folder
    remains. People may be called Ha, An or Di: codes of two letters count only without a longer name of an emotion.
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
        split_of_folders(
            name for name in rest if name not in known
        )  # raises JobError for names that only resemble a split
    class_folder = (known or rest or [None])[-1]
    if domain is None and rest:
        domain = next((name for name in rest if name != class_folder), None)
    return domain, None if is_unlabelled(class_folder) else class_folder, split


def compiled(option: str, pattern: str | None) -> re.Pattern | None:
    """Compile a regular expression of the user. Raises JobError when it is invalid."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # FutureWarning: a later Python may read it differently
            return None if pattern is None else re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise JobError(f"--option {option}={pattern} is not a regular expression: {error}") from None


LAYOUT = file_layout("folders", find, subject=None, classes=None)
