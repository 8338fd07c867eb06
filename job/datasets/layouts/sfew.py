"""Static Facial Expressions in the Wild, SFEW 2.0 (Dhall et al. 2011): `Train/Angry/*.png`, `Val/...`, frames of films.

Folders with "aligned" in their name (`Train_Aligned_Faces`) contain the same frames cut to the face: `--option
images=aligned` (the default, where there are any) or `original`. The test set is not labelled. A file is named film,
time and number (`AirHeads_001117240_00000001.png`); the film is the subject, because the three sets have no film in
common. There are no genders: `--option gender=FILE`.
"""

import re
from collections.abc import Iterator

from job.datasets.classes import label_of
from job.datasets.gender import require_genders
from job.datasets.image_search import ImageEntry, Notes, walk
from job.datasets.layout import file_layout
from job.datasets.split_names import split_within
from job.system.errors import JobError

_NAME = re.compile(r"(.+?)_\d+_\d+")


def find(root: str, notes: Notes, *, source: str | None, target: str | None, images: str) -> Iterator[ImageEntry]:
    """Yield every frame of one kind. Raises JobError outside a pair."""
    require_genders("sfew", source)
    if images not in ("aligned", "original"):
        raise JobError(f"--option images={images}: expected aligned or original")
    found = list(walk(root, notes, expected=(".txt", ".mat", ".csv")))
    any_aligned = any(_is_aligned(origin) for _, origin in found)
    for path, origin in found:
        if any_aligned and _is_aligned(origin) != (images == "aligned"):
            notes.left_out["images of the other kind, see --option images"] += 1
            continue
        *folders, name = origin.split("/")
        emotion = next((folder for folder in reversed(folders) if label_of(folder) is not None), None)
        film = _NAME.fullmatch(name.rpartition(".")[0])
        split = next(filter(None, map(split_within, folders)), None)
        yield ImageEntry(origin, path, None, emotion, film[1] if film else None, split)


def _is_aligned(origin: str) -> bool:
    return "aligned" in origin.rpartition("/")[0].casefold()


LAYOUT = file_layout("sfew", find, images="aligned")
