"""Read a table of genders by image, which the user supplies for data sets without genders.

Genders are words (job.datasets.image_search lists those for men and women). Numbers are accepted only where the data
set's own files define them: 1 is a woman in some and a man in others, and the domains would be swapped silently.
"""

import unicodedata
from collections.abc import Mapping

from job.datasets.table import option_path, read_table
from job.system.errors import JobError


class Genders:
    """The gender of each image, by its name in the table: path below the root, file name, or another name."""

    def __init__(self, root: str, path: str | None, numbers: Mapping[str, str] | None = None) -> None:
        """Read the table; `numbers` maps numbers of the data set to words. Raises JobError for an invalid table."""
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

    def __bool__(self) -> bool:
        return bool(self._by_image)


def _one_form(name: str) -> str:
    """Compose letters (NFC): a table may store `é` as one character where the file system uses two."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)
