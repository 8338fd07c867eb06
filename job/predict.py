"""`python -m job predict`: predict the classes of image files and write them as CSV."""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg
import torch

from job.datasets.file_kinds import ENDINGS
from job.datasets.image_bytes import fetch
from job.datasets.image_search import Notes, walk
from job.evaluation.load import Loaded, load_model
from job.shards.reading.augment import normalise
from job.shards.writing.convert import reason_of
from job.shards.writing.crop import crop_to, find_face
from job.shards.writing.encode import encode
from job.shards.writing.left_out import count_lines
from job.shards.writing.read_picture import read_picture
from job.system.echo import echo
from job.system.errors import JobError
from job.system.files import atomic_path, check_output, writing
from job.system.memory import keep_freed_memory
from job.system.processes import cores
from job.system.progress import follow
from job.system.text import csv_row


class Prediction(NamedTuple):
    """The most probable class of an image, its probability, and the probability of each class by name."""

    label: str
    confidence: float
    probabilities: dict[str, float]


def predict_image(model: Loaded, image: str | Path) -> Prediction:
    """Predict the class of one image file with a model that `load_model` returned.

    The image is cropped, resized and compressed like the training images. Raise JobError when it cannot be read.
    """
    pixels = _read(Path(image), model)
    if isinstance(pixels, str):
        raise JobError(f"cannot read {image}: {pixels}")
    device = next(model.model.parameters()).device
    row = [float(p) for p in probabilities(model, pixels[None], device)[0]]
    label, confidence = max(zip(model.class_names, row, strict=True), key=lambda pair: pair[1])
    return Prediction(label, confidence, dict(zip(model.class_names, row, strict=True)))


def predict(checkpoint: Path, inputs: Sequence[Path], out: Path, batch_size: int = 64) -> tuple[int, list[str]]:
    """Write a CSV (path, label, confidence, one probability per class) for images and folders of images.

    Return how many images were predicted, and a line for each image that was skipped. Raise JobError when the
    checkpoint cannot be used or no image can be predicted.
    """
    check_output("--out", out)
    loaded = load_model(checkpoint)
    skipped: list[str] = []
    paths = list(find_images(inputs, skipped))
    if not paths and skipped:
        raise JobError(f"nothing to predict: {skipped[0]}{_more(skipped)}")
    if not paths:
        endings = ", ".join(ENDINGS)
        raise JobError(
            f"no image under {', '.join(map(str, inputs))}: expected files that end in {endings}, "
            "or image files without an ending"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded.model.to(device)
    if device.type == "cpu":
        keep_freed_memory()
    predicted = 0
    batches = [paths[first : first + batch_size] for first in range(0, len(paths), batch_size)]
    with writing(out, "choose another --out, or make room"), atomic_path(out) as partial:
        with open(partial, "w", newline="", encoding="utf-8") as file, ThreadPoolExecutor(cores()) as pool:
            writer = csv.writer(file)
            writer.writerow(csv_row(["path", "label", "confidence", *loaded.class_names]))
            for batch in follow(batches, len(paths), len, "predicting"):
                images = zip(batch, pool.map(_read, batch, repeat(loaded)), strict=True)
                for path, row in _predict_batch(loaded, images, device, skipped):
                    best = int(row.argmax())
                    cells = [path, loaded.class_names[best], f"{row[best]:.4f}", *(f"{p:.4f}" for p in row)]
                    writer.writerow(csv_row(cells))
                    predicted += 1
        if not predicted:
            raise JobError(f"none of {len(paths)} images could be predicted: {skipped[0]}{_more(skipped)}")
    return predicted, skipped


def _predict_batch(
    loaded: Loaded, images: Iterable[tuple[Path, np.ndarray | str]], device: torch.device, skipped: list[str]
) -> Iterator[tuple[Path, np.ndarray]]:
    """Yield path and class probabilities of each image. `images` are paths with what `_read` returned.

    Append a line to `skipped` for each image without pixels or without finite probabilities.
    """
    readable: list[tuple[Path, np.ndarray]] = []
    for path, pixels in images:
        if isinstance(pixels, str):
            skipped.append(f"{path}: {pixels}")
        else:
            readable.append((path, pixels))
    if not readable:
        return
    rows = probabilities(loaded, np.stack([pixels for _, pixels in readable]), device)
    for (path, _), row in zip(readable, rows, strict=True):
        if np.isfinite(row).all():
            yield path, row
        else:
            skipped.append(f"{path}: the network's output is not a number")


def _more(lines: Sequence[str]) -> str:
    return f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""


@torch.inference_mode()
def probabilities(loaded: Loaded, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Return class probabilities float32 [n, C] of images uint8 [n, size, size, 3]."""
    data = loaded.config.data
    inputs = normalise(torch.from_numpy(images).to(device), data.mean, data.std, standardize=data.standardize)
    return loaded.model.predict(inputs).class_logits.float().softmax(1).cpu().numpy()


def find_images(inputs: Iterable[Path], skipped: list[str]) -> Iterator[Path]:
    """Yield the files among `inputs` and, in a fixed order, the images in the folders among them.

    Append a line to `skipped` for each input that is missing and each entry of a folder that cannot be read.
    """
    for path in map(Path, inputs):
        if os.path.isdir(path):
            notes = Notes()
            try:
                yield from (Path(file) for file, _ in walk(path, notes))
            except JobError as error:  # the folder itself cannot be listed
                skipped.append(str(error))
            skipped += [f"{path / below}: {reason}" for below, reason in notes.skipped]
            for line in count_lines(notes.left_out):
                echo(f"left out below {path}: {line}", err=True)
        elif os.path.exists(path):
            yield path
        else:
            skipped.append(f"no image or folder at {path}")


def _read(path: Path, loaded: Loaded) -> np.ndarray | str:
    """Return the pixels as shards store them, or the reason why the image cannot be read.

    Crop, filter, JPEG quality and decoder are those of the training images.
    """
    try:
        pixels = read_picture(fetch(str(path)))
        if loaded.crop == "face":
            pixels = crop_to(pixels, find_face(pixels))
        return simplejpeg.decode_jpeg(encode(pixels, loaded.size, loaded.quality, loaded.crop, loaded.gray), "RGB")
    except JobError:  # the face detector is missing: no image can be read
        raise
    except MemoryError:
        return "not enough memory to read it"
    except Exception as error:  # one bad image must not stop the others; OpenCV raises its own errors
        return reason_of(error)
