"""A table of genders by image, which the user supplies for data sets that come without."""

from job.data.layouts.table import option_path, read_table
from job.errors import JobError

_WORDS = {"0": "male", "1": "female", "2": "unsure"}  # as RAF-DB counts


class Genders:
    """The gender of each image by what the table calls it: its path below the root, its file name, or another name."""

    def __init__(self, root: str, path: str | None) -> None:
        self._by_image: dict[str, str] = {}
        if path is None:
            return
        table = option_path(root, path)
        for number, row in read_table(table, ("image", "gender")):
            image, gender = row["image"].replace("\\", "/"), row["gender"]
            gender = _WORDS.get(gender, gender)
            if self._by_image.setdefault(image, gender) != gender:
                raise JobError(f"{table}, row {number}: {image} has another gender before: correct the table")

    def of(self, origin: str, *names: str) -> str | None:
        """The gender of an image by its path, its file name, or one of the other names that it has."""
        for name in (origin, origin.rpartition("/")[2], *names):
            if name in self._by_image:
                return self._by_image[name]
        return None

    def __bool__(self) -> bool:
        return bool(self._by_image)
