"""Prepare photos exactly as the training images were: read, crop, resize, compress, decode."""

from typing import NamedTuple

import numpy as np
import simplejpeg

from job.datasets.image_bytes import fetch
from job.evaluation.load import Loaded
from job.prediction.images import Picture
from job.shards.writing.convert import reason_of
from job.shards.writing.crop import CropSettings, repeated_settings
from job.shards.writing.encode import encode
from job.shards.writing.face_detector import Face
from job.shards.writing.photo import crop_photo
from job.shards.writing.read_picture import jpeg_size
from job.system.errors import JobError


class Prepared(NamedTuple):
    """Pixels uint8 [S, S, 3] as shards store them, and the face in them, in px of the upright photo.

    `edge` is the shorter edge of the photo in px; 0 if it comes from shards, or a face was searched for.
    """

    pixels: np.ndarray
    face: Face | None = None
    edge: int = 0


def settings_of(loaded: Loaded, face_model: str | None = None) -> CropSettings:
    """Return how the training images were cropped; `face_model` is the path of the detector's file, if it was moved.

    Raises JobError when the detector cannot be loaded.
    """
    settings = repeated_settings(loaded.crop, loaded.alignment, face_model)
    return settings._replace(scaling=loaded.jpeg_scaling)


def prepare(photo: bytes, loaded: Loaded, settings: CropSettings, *, all_faces: bool = False) -> list[Prepared]:
    """Decode, crop, resize, compress and decode a photo; one result, or with `all_faces` one for each face.

    Crop, filter, JPEG quality and decoder are those of the training images. Raises UnreadableError when it cannot be
    decoded, and JobError without a detector.
    """
    return [
        Prepared(
            simplejpeg.decode_jpeg(encode(part.pixels, loaded.size, loaded.quality, loaded.crop, loaded.gray), "RGB"),
            part.face,
            0 if loaded.crop == "face" else min(jpeg_size(photo) or part.pixels.shape[:2]),
        )
        for part in crop_photo(photo, loaded.size, settings, all_faces=all_faces)
    ]


def read(picture: Picture, loaded: Loaded, settings: CropSettings, all_faces: bool = False) -> list[Prepared] | str:
    """Read and prepare an image; return the reason if it cannot be read. Raises JobError without a detector."""
    if isinstance(picture.content, np.ndarray):
        return [Prepared(picture.content)]
    try:
        content = picture.content if isinstance(picture.content, bytes) else fetch(str(picture.content))
        return prepare(content, loaded, settings, all_faces=all_faces)
    except JobError:  # the face detector is missing: no image can be read
        raise
    except MemoryError:
        return "not enough memory to read it"
    except Exception as error:  # one bad image must not stop the others; OpenCV raises its own errors
        return reason_of(error)
