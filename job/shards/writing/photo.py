"""Crop an encoded photo; a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size where the sample needs no more pixels.

A JPEG stores blocks of 8 x 8 pixels as frequencies, so libjpeg can decode it at these scales from the low ones alone,
which are means of the pixels. That is the rule of version 1, which manifests and checkpoints store as `jpeg_scaling`:

* the part of the photo that becomes the sample keeps at least MARGIN times the sample's edge, from which `encode`
  averages as it does from the full size;
* faces are searched for in the photo at the smallest scale that has the detector's resolution. If the face needs more
  pixels, the photo is decoded once more, at the scale that has them.

Coordinates of faces are in px of the upright photo at full size.
"""

from collections.abc import Callable

from job.shards.writing.crop import Crop, CropSettings, crop, cut, similarity_edge, too_small, usable
from job.shards.writing.face_detector import SEARCH_EDGE, Face, detector
from job.shards.writing.read_picture import jpeg_size, read_picture

SCALING = 1  # the version of this rule
MARGIN = 2
REDUCTIONS = (8, 4, 2)


def crop_photo(content: bytes, size: int, settings: CropSettings, *, all_faces: bool = False) -> list[Crop]:
    """Decode an image and crop it as `crop` does, for samples of `size` px, at a reduced size if `settings` allow it.

    Raises UnreadableError with the reason when it cannot be decoded, and JobError when the detector cannot be used.
    """
    stored = jpeg_size(content) if settings.scaling else None
    if stored is None:
        return crop(read_picture(content), size, settings, all_faces=all_faces)
    shorter, longer = min(stored), max(stored)
    reduction = _reduction(lambda by: shorter >= by * MARGIN * size)
    if settings.kind != "face":
        return crop(read_picture(content, reduction), size, settings)
    alignment = settings.alignment
    searched = SEARCH_EDGE if alignment is None else max(alignment.search_edges)
    reduction = min(reduction, _reduction(lambda by: longer >= by * searched))
    image = read_picture(content, reduction)
    if reduction == 1:
        return crop(image, size, settings, all_faces=all_faces)
    reduced = tuple(-(-edge // reduction) for edge in stored)
    photo = stored if image.shape[:2] == reduced else stored[::-1]  # rotated by EXIF
    finder = detector(settings.model, alignment)
    faces = finder.faces(image, photo)
    if not faces:
        return [Crop(image, reason=finder.reason())]
    decoded = {reduction: image}

    def cropped(face: Face) -> Crop:
        if reason := too_small(face):
            return Crop(image, reason=reason)
        edge = face.square[2] if face.square else similarity_edge(face.points, alignment)
        needed = min(reduction, _reduction(lambda by: edge >= by * MARGIN * size))
        if needed not in decoded:
            decoded[needed] = read_picture(content, needed)
        part = decoded[needed]
        return cut(part, _in_reduced(face, photo, part.shape[:2]), size, alignment)._replace(face=face)

    return usable([cropped(face) for face in (faces if all_faces else faces[:1])])


def _reduction(enough: Callable[[int], bool]) -> int:
    """Return the largest reduction that leaves enough pixels, 1 if none does."""
    return next((by for by in REDUCTIONS if enough(by)), 1)


def _in_reduced(face: Face, photo: tuple[int, int], shape: tuple[int, int]) -> Face:
    """Return a face of the photo in px of a reduced copy with this shape. Centres of pixels are whole numbers."""
    y, x = (after / before for after, before in zip(shape, photo, strict=True))
    points = tuple((float((px + 0.5) * x - 0.5), float((py + 0.5) * y - 0.5)) for px, py in face.points)
    square = None
    if face.square is not None:
        top, left, edge, _ = face.square
        edge = min(max(1, round(edge * x)), *shape)
        top, left = (min(round(at), most - edge) for at, most in zip((top * y, left * x), shape, strict=True))
        square = top, left, edge, edge
    return Face(face.left * x, face.top * y, face.width * x, face.height * y, points, face.score, square)
