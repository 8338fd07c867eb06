"""Read a table of genders by image, which the user supplies beside the files of any layout.

Genders are words (job.datasets.image_search lists those for men and women). Numbers are accepted only where the data
set's own files define them: 1 is a woman in some and a man in others, and the domains would be swapped silently.
"""

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from job.datasets.image_search import ImageEntry, Notes
from job.datasets.read_table import option_path, read_table
from job.system.errors import JobError


class Genders:
    """The gender of each image, by its name in the table: path below the root, file name, or another name."""

    def __init__(self, root: str, path: str | None, numbers: Mapping[str, str] | None = None) -> None:
        """Read the table; `numbers` maps numbers of the data set to words. Raises JobError for an invalid table."""
        self._by_image: dict[str, str] = {}
        self._claimed: dict[str, str] = {}
        self._table = table = None if path is None else option_path(root, path)
        if table is None:
            return
        for number, row in read_table(table, ("image", "gender")):
            image, gender = _one_form(row["image"].replace("\\", "/")), row["gender"]
            gender = (numbers or {}).get(gender, gender)
            if not any(map(str.isalpha, gender)):
                known = f", or one of {', '.join(f'{n} ({word})' for n, word in numbers.items())}" if numbers else ""
                raise JobError(
                    f"{table}, row {number}: gender {gender} is neither man nor woman: write male or female{known}"
                )
            if self._by_image.setdefault(image, gender) != gender:
                raise JobError(
                    f"{table}, row {number}: {image} has another gender in an earlier row: correct the table"
                )

    def of(self, origin: str, *names: str) -> str | None:
        """Return the gender of an image by its path, file name or one of its other names, None if not listed."""
        for name in map(_one_form, (origin, origin.rpartition("/")[2], *names)):
            if name in self._by_image:
                return self._by_image[name]
        return None

    def of_entry(self, entry: ImageEntry) -> str | None:
        """Return the gender of an image by its path, file name, stem or subject, None if not listed.

        Raises JobError when a name in the table belongs to two images, as a file name or stem of both.
        """
        path = _one_form(entry.origin)
        if path in self._by_image:
            return self._by_image[path]
        name = path.rpartition("/")[2]
        photo = name.partition("#")[0]  # x.jpg#2 is the third face of x.jpg
        for key in dict.fromkeys((name, name.rpartition(".")[0], photo, photo.rpartition(".")[0])):
            if key in self._by_image:
                other = self._claimed.setdefault(key, path)
                if other != path:
                    raise JobError(
                        f"{self._table}: {key} means {other} and {path}: write the path below the root in column image"
                    )
                return self._by_image[key]
        return None if entry.subject is None else self._by_image.get(_one_form(entry.subject))

    def __bool__(self) -> bool:
        return bool(self._by_image)


def _one_form(name: str) -> str:
    """Compose letters (NFC): a table may store `é` as one character where the file system uses two."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def find_with_genders(
    find: Callable[..., Iterator[ImageEntry]],
    root: str,
    notes: Notes,
    *,
    source: str | None,
    target: str | None,
    gender: str | None = None,
    **options: Any,
) -> Iterator[ImageEntry]:
    """Yield the images of a layout's `find` with one more option: a table whose genders replace the domains.

    The images are then found as in a pair, where the data set's own domains do not matter.
    """
    if gender is None:
        yield from find(root, notes, source=source, target=target, **options)
        return
    genders = Genders(root, gender)
    for entry in find(root, notes, source=None, target=None, **options):
        yield entry._replace(domain=genders.of_entry(entry))


def require_genders(name: str, source: str | None) -> None:
    """Raise JobError when a data set without genders is used alone, without a table: `source` is None elsewhere."""
    if source is not None:
        raise JobError(
            f"layout {name} needs the gender of each image: --option gender=FILE, a table with the columns image and "
            f"gender; or use it as one domain of a pair, --source {name}:DIR"
        )
