"""A table of genders by image, which the user supplies for data sets that come without.

Genders are words (job.datasets.image_search has those that mean men and women). A number means nothing but where the
data set's own files define it: 1 is a woman to some and a man to others, and the domains would be swapped in silence.
"""

import unicodedata
from collections.abc import Mapping

from job.datasets.table import option_path, read_table
from job.system.errors import JobError


class Genders:
    """The gender of each image by what the table calls it: its path below the root, its file name, or another name."""

    def __init__(self, root: str, path: str | None, numbers: Mapping[str, str] | None = None) -> None:
        """`numbers` are those that the data set defines. Raises JobError where the table is no such table."""
        self._by_image: dict[str, str] = {}
        if path is None:
            return
        table = option_path(root, path)
        for number, row in read_table(table, ("image", "gender")):
            image, gender = _one_form(row["image"].replace("\\", "/")), row["gender"]
            gender = (numbers or {}).get(gender, gender)
            if not any(map(str.isalpha, gender)):
                known = f", or one of {', '.join(f'{n} ({word})' for n, word in numbers.items())}" if numbers else ""
                raise JobError(
                    f"{table}, row {number}: gender {gender} says neither man nor woman: write male or female{known}"
                )
            if self._by_image.setdefault(image, gender) != gender:
                raise JobError(f"{table}, row {number}: {image} has another gender before: correct the table")

    def of(self, origin: str, *names: str) -> str | None:
        """The gender of an image by its path, its file name, or one of the other names that it has."""
        for name in map(_one_form, (origin, origin.rpartition("/")[2], *names)):
            if name in self._by_image:
                return self._by_image[name]
        return None

    def __bool__(self) -> bool:
        return bool(self._by_image)


def _one_form(name: str) -> str:
    """Composed letters: a table may hold `é` in one character where the file system has two."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)
