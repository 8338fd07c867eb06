"""Write a Grad-CAM overlay for each prediction."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import simplejpeg

from job.evaluation.load import Loaded
from job.prediction.grad_cam import heat_maps, overlay
from job.prediction.tables import Row
from job.system.files import make_folder, write_atomically, writing
from job.system.text import printable

_QUALITY = 90
_LONGEST_NAME = 60  # characters of the image's and of the class's name


class Explanations:
    """A folder of overlays: NUMBER-IMAGE-LABEL.jpg, numbered by the rows of the table from 1.

    Raises JobError when the folder or a file cannot be written, or the network cannot be explained.
    """

    def __init__(self, folder: Path, loaded: Loaded) -> None:
        make_folder("--explain", folder)
        self._folder, self._loaded, self._number = folder, loaded, 0

    def add(self, predicted: Sequence[tuple[Row, np.ndarray]]) -> None:
        """Explain the predicted classes of a batch of rows, each with its pixels uint8 [S, S, 3]."""
        if not predicted:
            return
        classes = np.array([int(row.probabilities.argmax()) for row, _ in predicted])
        maps = heat_maps(self._loaded, np.stack([pixels for _, pixels in predicted]), classes)
        for (row, pixels), label, heat in zip(predicted, classes.tolist(), maps):
            self._number += 1
            name = (
                f"{self._number:06d}-{_plain(Path(str(row.path)).stem)}-{_plain(self._loaded.class_names[label])}.jpg"
            )
            content = simplejpeg.encode_jpeg(overlay(pixels, heat), _QUALITY, "RGB", "444")
            with writing(self._folder / name, "choose another --explain, or make room"):
                write_atomically(self._folder / name, content)


def _plain(text: str) -> str:
    """Return a name that any file system accepts."""
    kept = "".join(c if c.isalnum() or c in "-_." else "_" for c in printable(text, keep="")[:_LONGEST_NAME])
    return kept.encode("utf-8", "replace").decode()[:_LONGEST_NAME]
