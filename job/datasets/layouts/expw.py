"""Expression in-the-Wild, ExpW (Zhang, Luo, Loy & Tang 2015): `label/label.lst` and photos, several faces in some.

A line of the list is: name of the photo, number of the face in it, top, left, right and bottom of the face's box in px,
confidence of the box, expression (0 angry, disgust, fear, happy, sad, surprise, 6 neutral). Each face is an image of
its own, cropped to its box with the margin that `--crop face` leaves. Its path ends in `#` and the number of the face
(`origin/x.jpg#0`). There are no genders (`--option gender=FILE`), splits and subjects.
"""

from collections.abc import Iterator
from pathlib import Path

from job.datasets.classes import name_of
from job.datasets.gender import require_genders
from job.datasets.image_search import FaceBox, ImageEntry, Notes, printable, walk
from job.datasets.layout import file_layout
from job.system.errors import JobError

_LIST = "label.lst"
_MARGIN = 0.15  # of the box's size on each side: 1.3 times the detector's square, as in job.shards.writing.crop


def find(root: str, notes: Notes, *, source: str | None, target: str | None) -> Iterator[ImageEntry]:
    """Yield every face of the list whose photo is below the root. Raises JobError outside a pair."""
    require_genders("expw", source)
    listed = next((path for path, _ in walk(root, Notes(), (_LIST,))), None)
    if listed is None:
        raise JobError(f"layout expw needs {_LIST}, and {root} has none: give the folder that contains label/{_LIST}")
    found = walk(root, notes, expected=(".lst", ".txt"))
    photos = {origin.rpartition("/")[2]: (path, origin) for path, origin in found}
    for name, face, box, code in _read_list(Path(listed)):
        if name not in photos:
            notes.skip(f"{printable(name)}#{face}", f"listed in {_LIST}, but missing")
            continue
        path, origin = photos[name]
        top, left, right, bottom = box
        across, down = (round(_MARGIN * edge) for edge in (right - left, bottom - top))
        location = FaceBox(path, left - across, top - down, right + across, bottom + down)
        yield ImageEntry(f"{origin}#{face}", location, None, name_of("expw", code))


def _read_list(path: Path) -> Iterator[tuple[str, int, tuple[int, ...], str]]:
    """Yield name, number of the face, box (top, left, right, bottom) and expression of each line. Raises JobError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise JobError(f"cannot read {path} ({error}): extract it again from ExpW's archive") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            name, face, top, left, right, bottom, _, code = line.rsplit(maxsplit=7)  # a name may contain blanks
            yield name, int(face), tuple(int(float(edge)) for edge in (top, left, right, bottom)), code
        except ValueError:
            raise JobError(
                f"{path}, line {number}: {line[:80]!r} is not of the form NAME FACE TOP LEFT RIGHT BOTTOM CONFIDENCE "
                "EXPRESSION: correct it"
            ) from None


LAYOUT = file_layout("expw", find)
